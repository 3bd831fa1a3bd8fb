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
                LoginPattern::Exact(login) => logins.exact.insert(login.clone(), account.clone()),
                LoginPattern::Domain(domain) => {
                    logins.domains.insert(domain.clone(), account.clone())
                }
                LoginPattern::Any => logins.any.replace(account.clone()),
            };
        }
        logins
    }

    /// Finds the account of a login, ignoring case. An exact login takes precedence over its
    /// domain's wildcard, and that over `*`. Wildcards match well-formed addresses only, so
    /// `*@contoso.com` itself is not a login.
    pub fn find(&self, login: &str) -> Option<&Arc<Account>> {
        let login = login.to_lowercase();
        self.exact.get(&login).or_else(|| {
            let (_, domain) = login.rsplit_once('@')?;
            let wildcard = self.domains.get(domain).or(self.any.as_ref());
            wildcard.filter(|_| is_mailbox(&login))
        })
    }
}
