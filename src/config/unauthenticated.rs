//! `listeners[].unauthenticated`: the account of clients that cannot log in.

use std::sync::Arc;

use super::account::Account;

/// `listeners[].unauthenticated`: the account that devices use which cannot log in.
#[derive(Debug, Clone)]
pub struct Unauthenticated {
    /// Whose mailbox.
    pub account: Arc<Account>,
    /// As it is written there, in lower case.
    pub login: String,
}
