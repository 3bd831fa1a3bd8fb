//! Resolves a login to its account. No other code does this.

use std::collections::HashMap;
use std::sync::Arc;

use super::account::{Account, LoginPattern};
use crate::wire::address::is_mailbox;

/// Index of accounts by login.
#[derive(Debug)]
pub struct Logins(HashMap<LoginPattern, Arc<Account>>);

impl Logins {
    /// Creates the index. Of two accounts with the same pattern, which a valid file does not have, it
    /// has the first.
    pub fn new(accounts: &[Arc<Account>]) -> Self {
        let by_pattern = |account: &Arc<Account>| (account.login.clone(), account.clone());
        Self(accounts.iter().rev().map(by_pattern).collect())
    }

    /// Finds the account of a login, ignoring case. Wildcards match well-formed addresses only, so
    /// `*@contoso.com` itself is not a login.
    pub fn find(&self, login: &str) -> Option<&Arc<Account>> {
        let login = login.to_lowercase();
        let account = self.covering(&login)?;
        (!account.login.is_wildcard() || is_mailbox(&login)).then_some(account)
    }

    /// Finds the account whose pattern covers a lower-case login, which may be no address. An exact
    /// login takes precedence over its domain's wildcard, and that over `*`.
    pub(super) fn covering(&self, login: &str) -> Option<&Arc<Account>> {
        let exact = self.0.get(&LoginPattern::Exact(login.to_owned()));
        let domain = || {
            let (_, domain) = login.rsplit_once('@')?;
            self.0.get(&LoginPattern::Domain(domain.to_owned()))
        };
        let any = || self.0.get(&LoginPattern::Any);
        exact.or_else(domain).or_else(any)
    }
}
