//! A token request, whatever the grant.

use std::sync::Arc;
use std::time::Duration;

use super::super::store::Store;
use crate::config::Account;
use crate::secret::Secret;

/// A request for a token, with all that a grant may need.
pub(in crate::token) struct Request {
    pub(in crate::token) account: Arc<Account>,
    /// Mailbox of the token, for grants that ask for one mailbox's token.
    pub(in crate::token) mailbox: String,
    /// Under which login a person consented.
    pub(in crate::token) login: String,
    /// Password that the client presented, where the identity provider checks it.
    pub(in crate::token) password: Option<Secret>,
    /// The token that is to be replaced, if one is held.
    pub(in crate::token) replaces: Option<Secret>,
    /// A stored token will not do.
    pub(in crate::token) anew: bool,
    /// When this was asked for, in seconds since 1970.
    pub(in crate::token) since: u64,
    pub(in crate::token) client: Option<crate::outbound::http::Client>,
    pub(in crate::token) store: Option<Arc<Store>>,
    pub(in crate::token) timeout: Duration,
}

impl Request {
    /// User name to which the password belongs: the login's, where that can be a user's name at the
    /// provider (the mailbox may be a shared one).
    pub(super) fn username(&self) -> &str {
        match self.login.contains('@') {
            true => &self.login,
            false => &self.mailbox,
        }
    }
}
