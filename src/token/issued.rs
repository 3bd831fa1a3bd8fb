//! Access tokens, as issued and as given to a login.

use std::time::Duration;

use crate::secret::Secret;

/// A token as given to one login.
#[derive(Debug, Clone)]
pub struct Token {
    /// The access token.
    pub secret: Secret,
    /// Number of the token among those of its cache key.
    pub(super) generation: u64,
    /// Whether it was issued for this login, which waited for the request.
    pub(super) fresh: bool,
}

/// Result of a successful token request.
#[derive(Debug, Clone)]
pub(crate) struct IssuedToken {
    pub(crate) token: Secret,
    /// Time from its issue to its expiry.
    pub(crate) lifetime: Duration,
    /// Time since its issue.
    pub(crate) age: Duration,
    /// Whether the token was stored, so that no endpoint was asked.
    pub(crate) stored: bool,
    /// Whether a refresh token was redeemed whose successor is not on disk yet.
    pub(crate) unstored: bool,
}

impl IssuedToken {
    /// Creates a token that was just issued.
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

/// Current time in seconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_secs()
}

/// Current time in milliseconds since 1970, by which records are numbered.
pub(super) fn now_ms() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// State of a login's token, without a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenState {
    /// No token was requested yet.
    None,
    /// The token is valid for this time.
    Valid(Duration),
    /// The token has expired.
    Expired,
    /// The last request was refused; an outage does not count.
    Refused,
}
