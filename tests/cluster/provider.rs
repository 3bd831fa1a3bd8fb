//! The identity provider of the simulation, and what is known of each token.

/// What it does with a refresh token that was redeemed already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It stays good.
    Tolerates,
    /// The whole consent ends.
    Revokes,
    /// It is refused.
    Refuses,
}

/// The refresh tokens of one consent.
#[derive(Debug, Clone)]
pub struct Family {
    /// The newest one's number.
    pub newest: u64,
    pub revoked: bool,
    /// The newest token is nowhere any more, by a fault that no design survives.
    pub gone: bool,
    /// The act that made it.
    pub act: u64,
}

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Tombstone {
        act: u64,
    },
    Token {
        family: usize,
        number: u64,
        issued: u64,
    },
}

impl What {
    pub fn text(self) -> String {
        match self {
            Self::Tombstone { act } => format!("x {act}"),
            Self::Token {
                family,
                number,
                issued,
            } => format!("t {family} {number} {issued}"),
        }
    }

    pub fn parse(text: &str) -> Self {
        let mut words = text.split(' ');
        let is_token = words.next() == Some("t");
        let mut number = || words.next().unwrap().parse::<u64>().unwrap();
        match is_token {
            true => Self::Token {
                family: usize::try_from(number()).unwrap(),
                number: number(),
                issued: number(),
            },
            false => Self::Tombstone { act: number() },
        }
    }

    /// The same token, whatever else.
    pub fn is_same(self, other: Self) -> bool {
        match (self, other) {
            (Self::Tombstone { act }, Self::Tombstone { act: other }) => act == other,
            (
                Self::Token { family, number, .. },
                Self::Token {
                    family: other,
                    number: second,
                    ..
                },
            ) => (family, number) == (other, second),
            _ => false,
        }
    }
}
