//! Access tokens: as a request brought them, and as a login is given them.

use std::time::Duration;

use crate::secret::Secret;

/// A token as it was given to one login.
#[derive(Debug, Clone)]
pub struct Token {
    /// The access token itself, as issued.
    pub secret: Secret,
    /// Counts the tokens of a purpose.
    pub(super) generation: u64,
    /// Issued for this login: it waited for the request.
    pub(super) fresh: bool,
}

/// Result of a successful token request.
#[derive(Debug, Clone)]
pub(crate) struct IssuedToken {
    pub(crate) token: Secret,
    /// From its issue to its end.
    pub(crate) lifetime: Duration,
    /// Part of its validity that has passed.
    pub(crate) age: Duration,
    /// Whether the token was at hand, without asking an endpoint.
    pub(crate) stored: bool,
    /// A refresh token was redeemed for it, whose successor is not on disk yet.
    pub(crate) unstored: bool,
}

impl IssuedToken {
    /// A token that was just issued.
    pub(crate) fn new(token: Secret, lifetime: Duration) -> Self {
        Self {
            token,
            lifetime,
            age: Duration::ZERO,
            stored: false,
            unstored: false,
        }
    }

    pub(crate) fn left(&self) -> Duration {
        self.lifetime.saturating_sub(self.age)
    }
}

/// Gives the time in seconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// How a login's token stands, without asking anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenState {
    /// None was asked for yet.
    None,
    /// The token remains valid for this time.
    Valid(Duration),
    /// The validity of the token is over.
    Expired,
    /// The last request was refused; an outage is no refusal.
    Refused,
}
