//! Token request of any grant.

use std::sync::Arc;
use std::time::Duration;

use super::super::endpoint::Endpoint;
use super::super::issued::IssuedToken;
use super::super::store::{Store, StoredToken};
use crate::config::Account;
use crate::secret::Secret;

/// Token request with the data that any grant may need.
pub(in crate::token) struct Request {
    pub(in crate::token) account: Arc<Account>,
    /// Mailbox of the token, for grants that issue tokens for one mailbox.
    pub(in crate::token) mailbox: String,
    /// Login under which the user consented.
    pub(in crate::token) login: String,
    /// Password presented by the client, if the identity provider checks it.
    pub(in crate::token) password: Option<Secret>,
    /// Previous token, which is to be replaced.
    pub(in crate::token) replaces: Option<Secret>,
    /// Whether a stored token must not be used.
    pub(in crate::token) force_refresh: bool,
    /// Time of the request, in seconds since 1970.
    pub(in crate::token) since: u64,
    /// The provider's endpoints; `None` without an HTTP client for it.
    pub(in crate::token) endpoint: Option<Endpoint>,
    pub(in crate::token) store: Option<Arc<Store>>,
    pub(in crate::token) timeout: Duration,
}

impl Request {
    /// Returns a known token that the login may use: it is not the one to be replaced, and has the
    /// provider's `token_margin` left.
    pub(in crate::token) fn usable_token(
        &self,
        known: Option<&StoredToken>,
    ) -> Option<IssuedToken> {
        let margin = self.account.registration.provider.token_margin;
        known?.usable(margin, self.replaces.as_ref())
    }
}
