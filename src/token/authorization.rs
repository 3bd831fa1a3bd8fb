//! A consent in progress as several relays share it.

use serde::{Deserialize, Serialize};

/// State that another relay needs to redeem the code that comes back; sealed as a whole.
#[derive(Serialize, Deserialize)]
pub(in crate::token) struct SharedAuthorization {
    pub(in crate::token) login: String,
    pub(in crate::token) redirect: String,
    /// Code verifier of PKCE (RFC 7636).
    pub(in crate::token) verifier: String,
}

/// How a consent stands that another relay has completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::token) struct Completed {
    /// Why it failed, if it did, and what to do.
    pub(in crate::token) failed: Option<(String, Option<String>)>,
}
