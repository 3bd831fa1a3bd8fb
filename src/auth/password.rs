//! Checks local passwords.
//!
//! A [`VerifiedLogin`] is required to get a token. [`PasswordChecker::check`] creates it from a
//! password, [`VerifiedLogin::by_operator`] for the operator's own tests, and
//! [`VerifiedLogin::by_listener`] for the one account of a listener for devices. Every attempt
//! costs as many argon2 runs as the account with the most hashed passwords requires, whether the
//! login exists or not. Right passwords are remembered for a while (as keyed hashes), so that a
//! polling client pays for argon2 once.

mod argon2_memory;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use crate::config::{Account, Config, Listener, Password, PasswordCheck};
use crate::secret::Secret;
use argon2_memory::Argon2Memory;

/// Period for which a right password is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Proof that a client may open a mailbox.
#[derive(Debug, Clone)]
pub struct VerifiedLogin {
    account: Arc<Account>,
    login: String,
    mailbox: String,
    /// The local password that matched.
    password: Option<Arc<Password>>,
    /// Grant `password`: the password that the identity provider has yet to check.
    unverified: Option<Secret>,
    /// Whether the listener's own account was opened without credentials.
    unauthenticated: bool,
}

impl VerifiedLogin {
    /// Creates a login for `doctor`: an operator who can read the configuration may test its
    /// accounts. `unproven` is the user's password for the grant `password`.
    pub fn by_operator(
        account: Arc<Account>,
        login: String,
        mailbox: String,
        unproven: Option<Secret>,
    ) -> Self {
        Self {
            unverified: unproven,
            ..Self::new(account, login, mailbox)
        }
    }

    fn new(account: Arc<Account>, login: String, mailbox: String) -> Self {
        Self {
            account,
            login,
            mailbox,
            password: None,
            unverified: None,
            unauthenticated: false,
        }
    }

    /// Creates the login of a listener's own account for a client that cannot log in. `None` unless
    /// the client is in one of the listener's `allow` networks.
    pub fn by_listener(listener: &Listener, client: std::net::IpAddr) -> Option<Self> {
        let open = listener.unauthenticated.as_ref()?;
        let allowed = listener.allow.as_ref()?;
        let client = client.to_canonical();
        let is_near = allowed.iter().any(|network| network.contains(&client));
        let mailbox = open.account.mailbox_of(listener.protocol, &open.login);
        is_near.then(|| Self {
            unauthenticated: true,
            ..Self::new(open.account.clone(), open.login.clone(), mailbox)
        })
    }

    /// Whether this is a listener's own account, opened without credentials.
    pub fn is_unauthenticated(&self) -> bool {
        self.unauthenticated
    }

    /// Whether `other` has the same login, mailbox and registration.
    pub fn same_mailbox_as(&self, other: &Self) -> bool {
        self.login == other.login
            && self.mailbox == other.mailbox
            && self.account.registration.name == other.account.registration.name
    }

    /// The account that was opened.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// The presented login, lower case.
    pub fn login(&self) -> &str {
        &self.login
    }

    /// The password that the identity provider has yet to check (grant `password`). Nothing is
    /// proved before.
    pub fn unverified_password(&self) -> Option<&Secret> {
        self.unverified.as_ref()
    }

    /// Copies the login without the presented password, for storage.
    #[must_use]
    pub fn without_password(&self) -> Self {
        Self {
            unverified: None,
            ..self.clone()
        }
    }

    /// Derives the login of `sender` if the account logs in as the address in MAIL (`mailbox:
    /// {smtp: sender}`) and allows this address.
    pub fn as_sender(&self, sender: &str) -> Option<Self> {
        let senders = self.account.smtp.as_ref()?.senders.as_ref()?;
        let allowed = senders.iter().any(|pattern| pattern.matches(sender));
        let by_sender = self.account.mailbox.smtp_is_sender && sender.contains('@');
        (by_sender && allowed).then(|| Self {
            mailbox: sender.to_lowercase(),
            ..self.clone()
        })
    }

    /// The local password that matched; `None` for the grant `password`.
    pub fn password(&self) -> Option<&Password> {
        self.password.as_deref()
    }

    /// The mailbox to open at the upstream.
    pub fn mailbox(&self) -> &str {
        &self.mailbox
    }

    /// The name of the password that matched, if it has one.
    pub fn credential(&self) -> Option<&str> {
        self.password.as_ref()?.name.as_deref()
    }
}

/// A client's claim before it is checked: an account, a mailbox of it, and the passwords allowed at
/// the listener.
#[derive(Debug)]
pub struct Candidate {
    /// Account of the login.
    pub account: Arc<Account>,
    /// The presented login, lower case.
    pub login: String,
    /// Mailbox that the login opens.
    pub mailbox: String,
    /// Passwords of the account that may be used at the listener.
    pub passwords: Vec<Arc<Password>>,
}

/// Keyed hash of a password; the key is this process's own.
pub type Fingerprint = [u8; 32];

/// Checks presented passwords against configured ones, in bounded memory.
pub struct PasswordChecker {
    /// Random key of this process.
    key: hmac::Key,
    /// The last right password for each configured hash, both as keyed hashes. Bounded by the
    /// number of hashes in the file, so none expires early.
    remembered: Mutex<HashMap<Fingerprint, (Fingerprint, Instant)>>,
    memory: Argon2Memory,
    /// Number of argon2 runs of every attempt.
    padding: usize,
    /// Hash checked for unknown logins, so that their replies take the same time.
    dummy: Option<Secret>,
    /// Number of argon2 runs so far.
    #[cfg(test)]
    counted: std::sync::atomic::AtomicUsize,
}

impl PasswordChecker {
    /// Creates a checker for the accounts of `config`.
    pub fn new(config: &Config) -> std::io::Result<Self> {
        let mut seed = [0; 32];
        rand::fill(&mut seed).map_err(|_| std::io::Error::other("no random numbers"))?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &seed);
        Ok(Self::with(
            config,
            key,
            HashMap::new(),
            Argon2Memory::default(),
        ))
    }

    /// Creates a checker for another configuration; remembered passwords stay.
    #[must_use]
    pub fn renewed(&self, config: &Config) -> Self {
        let now = Instant::now();
        let mut remembered = self.remembered.lock().clone();
        remembered.retain(|_, (_, until)| *until > now);
        Self::with(config, self.key.clone(), remembered, self.memory.clone())
    }

    fn with(
        config: &Config,
        key: hmac::Key,
        remembered: HashMap<Fingerprint, (Fingerprint, Instant)>,
        memory: Argon2Memory,
    ) -> Self {
        let hashes = |account: &Arc<Account>| {
            let hash = |password: &Arc<Password>| match &password.password {
                PasswordCheck::Hash(phc) => Some(phc.clone()),
                PasswordCheck::Plain(_) | PasswordCheck::Any => None,
            };
            account
                .passwords
                .iter()
                .filter_map(hash)
                .collect::<Vec<_>>()
        };
        let hashes: Vec<_> = config.accounts.iter().map(hashes).collect();
        Self {
            key,
            remembered: Mutex::new(remembered),
            memory,
            padding: hashes.iter().map(Vec::len).max().unwrap_or(0),
            dummy: hashes.into_iter().flatten().next(),
            #[cfg(test)]
            counted: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    /// Checks whether `presented` is one of the candidate's passwords. Without a candidate the same
    /// work is done and the result is `None`.
    ///
    /// With the grant `password` nothing is checked here: the identity provider does so when a
    /// token is requested.
    pub async fn check(
        &self,
        claim: Option<Candidate>,
        presented: &Secret,
    ) -> Option<VerifiedLogin> {
        if let Some(claim) = &claim
            && claim.account.registration.grant.needs_client_password()
        {
            let (account, login, mailbox) = (&claim.account, &claim.login, &claim.mailbox);
            return Some(VerifiedLogin {
                unverified: Some(presented.clone()),
                ..VerifiedLogin::new(account.clone(), login.clone(), mailbox.clone())
            });
        }
        let passwords = claim.as_ref().map_or(&[][..], |claim| &claim.passwords);
        // Only a right password is answered faster.
        let mut found = passwords.iter().find(|password| match &password.password {
            PasswordCheck::Hash(phc) => self.remembers(phc, presented),
            PasswordCheck::Plain(_) | PasswordCheck::Any => false,
        });
        let mut runs = 0;
        let unknown = if found.is_some() { &[] } else { passwords };
        for password in unknown {
            let right = match &password.password {
                PasswordCheck::Any => true,
                PasswordCheck::Plain(secret) => secret == presented,
                PasswordCheck::Hash(phc) => {
                    runs += 1;
                    let right = self.run(phc.clone(), presented.clone()).await;
                    if right {
                        self.remember(phc, presented);
                    }
                    right
                }
            };
            if right && found.is_none() {
                found = Some(password);
            }
        }
        if let (Some(dummy), None) = (&self.dummy, found) {
            for _ in runs..self.padding {
                self.run(dummy.clone(), presented.clone()).await;
            }
        }
        let password = Some(found?.clone());
        let claim = claim?;
        Some(VerifiedLogin {
            password,
            ..VerifiedLogin::new(claim.account, claim.login, claim.mailbox)
        })
    }

    async fn run(&self, phc: Secret, presented: Secret) -> bool {
        #[cfg(test)]
        self.counted
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let Some(turn) = self.memory.turn().await else {
            return false;
        };
        let run = move || turn.matches(phc.expose(), presented.expose().as_bytes());
        tokio::task::spawn_blocking(run).await.unwrap_or(false)
    }

    /// Returns the keyed hash of a password.
    pub fn fingerprint(&self, text: &Secret) -> Fingerprint {
        let mut fingerprint = [0; 32];
        let signed = hmac::sign(&self.key, text.expose().as_bytes());
        fingerprint.copy_from_slice(signed.as_ref());
        fingerprint
    }

    fn remembers(&self, phc: &Secret, presented: &Secret) -> bool {
        let (of, fingerprint) = (self.fingerprint(phc), self.fingerprint(presented));
        let remembered = self.remembered.lock();
        remembered.get(&of).is_some_and(|(right, until)| {
            bool::from(right.ct_eq(&fingerprint)) && *until > Instant::now()
        })
    }

    fn remember(&self, phc: &Secret, presented: &Secret) {
        let (of, fingerprint) = (self.fingerprint(phc), self.fingerprint(presented));
        let mut remembered = self.remembered.lock();
        remembered.insert(of, (fingerprint, Instant::now() + REMEMBERED));
    }
}
