//! From what a client presents to the mailbox it may open.
//!
//! Unknown login, wrong password, wrong protocol, forbidden address and lockout look alike to the
//! client, in bytes and in time; the log knows which it was.

mod lockout;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Account, Config, Grant, Listener, LoginPattern, PasswordCheck};
use crate::fault::{Fault, Kind};
use crate::proof::{Checker, Claim, Verified};
use crate::wire::sasl::Credentials;
use lockout::{Lockouts, Standing};

/// Who knocks, and where.
#[derive(Debug, Clone, Copy)]
pub struct Visitor<'a> {
    /// Where it comes from.
    pub address: IpAddr,
    /// Where it came in.
    pub listener: &'a Listener,
}

/// A refused attempt.
#[derive(Debug)]
pub struct Refused {
    /// Always [`Kind::Credentials`].
    pub fault: Fault,
    /// How long the answer is to be held back.
    pub delay: Duration,
}

/// All accounts.
pub struct Accounts {
    exact: HashMap<String, Arc<Account>>,
    domains: HashMap<String, Arc<Account>>,
    checker: Checker,
    lockouts: Arc<Lockouts>,
}

impl Accounts {
    /// Those of `config`.
    pub fn new(config: &Config) -> std::io::Result<Self> {
        let lockouts = Lockouts::new(config.limits.lockout.clone());
        Self::with(config, Arc::new(lockouts))
    }

    /// Those of another configuration; who is locked out stays so.
    pub fn renewed(&self, config: &Config) -> std::io::Result<Self> {
        Self::with(config, self.lockouts.clone())
    }

    /// Attempts are counted by the policy of `config` from now on.
    pub fn take_over(&self, config: &Config) {
        self.lockouts.follow(config.limits.lockout.clone());
    }

    fn with(config: &Config, lockouts: Arc<Lockouts>) -> std::io::Result<Self> {
        let mut exact = HashMap::new();
        let mut domains = HashMap::new();
        for account in &config.accounts {
            match &account.login {
                LoginPattern::Exact(login) => exact.insert(login.clone(), account.clone()),
                LoginPattern::Domain(domain) => domains.insert(domain.clone(), account.clone()),
            };
        }
        Ok(Self {
            exact,
            domains,
            checker: Checker::new(config)?,
            lockouts,
        })
    }

    /// Checks credentials; nothing leaves the machine.
    pub async fn check(
        &self,
        visitor: Visitor<'_>,
        credentials: &Credentials,
    ) -> Result<Verified, Refused> {
        let login = credentials.login.to_lowercase();
        let account = self.resolve(&login);
        let standing = self
            .lockouts
            .standing(visitor.address, &login, account.is_some());
        if let Standing::Locked { delay } = standing {
            return Err(Refused {
                fault: refused("locked out after too many failures")
                    .remedy_is("give the application the right password; the lock ends by itself (limits.lockout)"),
                delay,
            });
        }
        let known = account.is_some();
        let claim = account.map(|account| claim(account, visitor, &login));
        let (claim, why) = match claim {
            Some(Ok(claim)) => (Some(claim), "wrong password"),
            Some(Err(why)) => (None, why),
            None => (None, "no account has this login"),
        };
        if let Some(verified) = self.checker.check(claim, &credentials.password).await {
            if verified.unproven().is_none() {
                self.lockouts.succeeded(visitor.address, &login);
            }
            return Ok(verified);
        }
        Err(Refused {
            fault: refused(why),
            delay: self.lockouts.failed(visitor.address, &login, known),
        })
    }

    /// Whether what was verified under another configuration would open the same mailbox in the
    /// same way today.
    pub fn still_opens(&self, visitor: Visitor<'_>, verified: &Verified) -> bool {
        let Some(account) = self.resolve(verified.login()) else {
            return false;
        };
        claim(account, visitor, verified.login()).is_ok_and(|claim| {
            claim.mailbox == verified.mailbox()
                && account.registration.name == verified.account().registration.name
                && verified.password().is_none_or(|password| {
                    let mut there = claim.passwords.iter();
                    there.any(|other| other.check == password.check)
                })
        })
    }

    /// What the identity provider said of a password that only it can check.
    pub fn proved(&self, visitor: Visitor<'_>, verified: &Verified, right: bool) -> Duration {
        match right {
            true => {
                self.lockouts.succeeded(visitor.address, verified.login());
                Duration::ZERO
            }
            false => self
                .lockouts
                .failed(visitor.address, verified.login(), true),
        }
    }

    /// The account of a login, in any case, and the mailbox it opens by a protocol.
    pub fn find(&self, login: &str) -> Option<&Arc<Account>> {
        self.resolve(&login.to_lowercase())
    }

    /// An exact login wins over a wildcard.
    fn resolve(&self, login: &str) -> Option<&Arc<Account>> {
        self.exact.get(login).or_else(|| {
            let (_, domain) = login.rsplit_once('@')?;
            self.domains.get(domain)
        })
    }
}

fn refused(why: &str) -> Fault {
    Fault::new(Kind::Credentials, why)
}

/// What `login` may claim of the account it resolved to.
fn claim(account: &Arc<Account>, visitor: Visitor<'_>, login: &str) -> Result<Claim, &'static str> {
    let protocol = visitor.listener.protocol;
    if !account.protocols.contain(protocol) {
        return Err("the account does not allow this protocol");
    }
    if matches!(account.login, LoginPattern::Domain(_)) && !is_address(login) {
        return Err("the login is no well-formed address");
    }
    let mailbox = account.mailbox_of(protocol, login);
    let here = |networks: &Option<Vec<ipnet::IpNet>>| {
        networks.as_ref().is_none_or(|networks| {
            networks
                .iter()
                .any(|network| network.contains(&visitor.address))
        })
    };
    let passwords: Vec<_> = account
        .passwords
        .iter()
        .filter(|password| here(&password.allow) && password.protocols.contain(protocol))
        .filter(|password| match password.check {
            PasswordCheck::Any => visitor.listener.takes_any_password(),
            PasswordCheck::Hash(_) | PasswordCheck::Plain(_) => true,
        })
        .cloned()
        .collect();
    let by_provider = matches!(account.registration.grant, Grant::Password(_));
    if passwords.is_empty() && !by_provider {
        return Err(
            "none of the account's passwords may be used from this address, listener and protocol",
        );
    }
    Ok(Claim {
        account: account.clone(),
        login: login.to_owned(),
        mailbox,
        passwords,
    })
}

/// `dot-atom "@" domain` (RFC 5322 §3.4.1), in ASCII and within RFC 5321 §4.5.3.1's lengths: the
/// only bytes of a client's choice that an upstream ever sees.
fn is_address(login: &str) -> bool {
    let Some((local, domain)) = login.rsplit_once('@') else {
        return false;
    };
    let atoms = |text: &str, also: &str| {
        text.split('.').all(|atom| {
            !atom.is_empty()
                && atom
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || also.contains(c))
        })
    };
    local.len() <= 64
        && domain.len() <= 255
        && atoms(local, "!#$%&'*+-/=?^_`{|}~")
        && atoms(domain, "-")
}
