//! `listeners[].unauthenticated`: the account of clients that cannot log in.

use std::sync::Arc;

use super::account::Account;

/// `listeners[].unauthenticated`: the account that devices use which cannot log in.
#[derive(Debug, Clone)]
pub struct Unauthenticated {
    /// Account whose mailbox sends for the clients.
    pub account: Arc<Account>,
    /// Login as it is written there, in lower case.
    pub login: String,
}
