//! Resolves a login to its account. No other code does this.

use std::collections::HashMap;
use std::sync::Arc;

use super::account::{Account, LoginPattern};
use crate::wire::address::is_mailbox;

/// Index of accounts by login.
#[derive(Debug)]
pub struct Logins {
    exact: HashMap<String, Arc<Account>>,
    domains: HashMap<String, Arc<Account>>,
    any: Option<Arc<Account>>,
}

impl Logins {
    /// Creates the index. No two accounts may have the same pattern.
    pub fn new(accounts: &[Arc<Account>]) -> Self {
        let mut logins = Self {
            exact: HashMap::new(),
            domains: HashMap::new(),
            any: None,
        };
        for account in accounts {
            match &account.login {
                LoginPattern::Exact(login) => logins.exact.entry(login.clone()),
                LoginPattern::Domain(domain) => logins.domains.entry(domain.clone()),
                LoginPattern::Any => {
                    logins.any.get_or_insert_with(|| account.clone());
                    continue;
                }
            }
            .or_insert_with(|| account.clone());
        }
        logins
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
        let domain = login.rsplit_once('@').map(|(_, domain)| domain);
        let wildcard = domain.and_then(|domain| self.domains.get(domain));
        let exact = self.exact.get(login);
        exact.or(wildcard).or(self.any.as_ref())
    }
}
