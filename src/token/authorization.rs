//! A pending consent in the form that several relays share.

use serde::{Deserialize, Serialize};

/// Data with which another relay can redeem the returned code; sealed as a whole.
#[derive(Serialize, Deserialize)]
pub(in crate::token) struct SharedAuthorization {
    pub(in crate::token) login: String,
    pub(in crate::token) redirect: String,
    /// PKCE code verifier (RFC 7636).
    pub(in crate::token) verifier: String,
}

/// Result of a consent completed by another relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::token) struct Completed {
    /// Detail and remedy of the failure, if it failed.
    pub(in crate::token) failed: Option<(String, Option<String>)>,
}
