//! The number of a record: of two records of one name the greater is the truth.

use serde::{Deserialize, Serialize};

/// Number of a record, compared by consent first: an act of a person beats every redemption.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
/// Number of a record: the greater of two replaces the other.
pub struct Number {
    /// Raised by `authorize` and `forget`: milliseconds since 1970 of their clock.
    pub consent: u64,
    /// Raised by a redemption.
    pub generation: u64,
}

/// Greatest number: Lua compares numbers as doubles, which are exact up to here.
const GREATEST: u64 = 1 << 53;

impl Number {
    /// Computes the number of an act of a person at `clock` (milliseconds since 1970), where `highest` is
    /// the greatest number known of the record.
    pub fn of_act(clock: u64, highest: Option<Self>) -> Self {
        let least = highest.map_or(0, |highest| highest.consent.saturating_add(1));
        Self {
            consent: clock.max(least).min(GREATEST),
            generation: 0,
        }
    }

    /// Computes the number of the record that a redemption of this one brings.
    #[must_use]
    pub fn redeemed(self) -> Self {
        Self {
            generation: self.generation.saturating_add(1).min(GREATEST),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_beats_every_redemption_whatever_its_clock_says() {
        let first = Number::of_act(1_000, None);
        let redeemed = first.redeemed().redeemed();
        assert!(redeemed > first);
        for clock in [0, 999, 1_000, 1_001, 5_000, u64::MAX] {
            let act = Number::of_act(clock, Some(redeemed));
            assert!(act > redeemed, "{clock}");
            assert!(act.consent <= GREATEST);
        }
    }
}
