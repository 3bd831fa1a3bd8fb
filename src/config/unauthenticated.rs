//! Account of clients that cannot log in, from `listeners[].unauthenticated`.

use std::sync::Arc;

use super::account::Account;

/// Account of devices that cannot log in, from `listeners[].unauthenticated`.
#[derive(Debug, Clone)]
pub struct Unauthenticated {
    /// Account whose mailbox sends for the clients.
    pub account: Arc<Account>,
    /// Login as configured, lower case.
    pub login: String,
}
