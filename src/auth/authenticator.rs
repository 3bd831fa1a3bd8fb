//! Checks presented credentials and returns a verified login.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq as _;

use super::lockout::{Lockouts, SLOWEST};
use crate::auth::password::{Candidate, Fingerprint, PasswordChecker, VerifiedLogin};
use crate::cluster::member::Member;
use crate::config::{Account, CertificateName, Config, Listener, Logins, Password, PasswordCheck};
use crate::fault::{Fault, Kind};
use crate::secret::Secret;
use crate::wire::sasl::{Credentials, without_surroundings};

/// Origin of a login attempt: the client's address, listener and certificate.
#[derive(Debug, Clone, Copy)]
pub struct ClientInfo<'a> {
    /// Client address; behind a load balancer, the announced one.
    pub address: IpAddr,
    /// Listener to which the client connected.
    pub listener: &'a Listener,
    /// Names in the client's certificate, if the listener requires one.
    pub names: &'a [CertificateName],
}

/// A refused attempt, and the delay of its reply.
#[derive(Debug)]
pub struct LoginRefused {
    /// Fault with the reason of the refusal.
    pub fault: Fault,
    /// Delay before the reply.
    pub delay: Duration,
}

impl LoginRefused {
    /// Refuses without delay, for faults that are not guesses.
    pub fn at_once(fault: Fault) -> Self {
        Self {
            fault,
            delay: Duration::ZERO,
        }
    }

    fn locked_out() -> Self {
        Self {
            fault: wrong_credentials("locked out after too many failures").with_remedy(
                "give the application the right password; the lock ends by itself (limits.lockout)",
            ),
            delay: SLOWEST,
        }
    }
}

/// A password check by the identity provider that has not ended. Until then it counts as a possible
/// failure. Dropping it records neither success nor failure.
#[derive(Debug)]
pub struct PendingCheck {
    lockouts: Arc<Lockouts>,
    address: IpAddr,
    login: String,
    /// Keyed hash of the presented password.
    fingerprint: Option<Fingerprint>,
    _in_progress: super::lockout::CheckPermit,
}

impl PendingCheck {
    /// Records that the password was right.
    pub fn succeeded(self) {
        self.lockouts.succeeded(self.address, &self.login);
    }

    /// Records that the password was wrong.
    pub fn failed(self, fault: Fault) -> LoginRefused {
        let fingerprint = self.fingerprint.unwrap_or_default();
        let delay = self
            .lockouts
            .failed(self.address, &self.login, true, fingerprint);
        LoginRefused { fault, delay }
    }
}

/// Authenticates logins against the accounts of one configuration.
pub struct Authenticator {
    logins: Logins,
    checker: PasswordChecker,
    lockouts: Arc<Lockouts>,
}

impl Authenticator {
    /// Creates an authenticator for the accounts of `config`.
    pub fn new(config: &Config) -> std::io::Result<Self> {
        Ok(Self {
            logins: Logins::new(&config.accounts),
            checker: PasswordChecker::new(config)?,
            lockouts: Arc::new(Lockouts::new(config.limits.lockout.clone())),
        })
    }

    /// Creates an authenticator for another configuration; the lockout state is shared.
    #[must_use]
    pub fn reconfigured(&self, config: &Config) -> Self {
        Self {
            logins: Logins::new(&config.accounts),
            checker: self.checker.renewed(config),
            lockouts: self.lockouts.clone(),
        }
    }

    /// Shares failure counts with the other relays from now on.
    pub fn share(&self, member: Arc<Member>) {
        self.lockouts.share(member);
    }

    /// Applies the lockout policy of `config` from now on.
    pub fn activate(&self, config: &Config) {
        self.lockouts.follow(config.limits.lockout.clone());
    }

    /// Whether a login verified under an earlier configuration would still open the same mailbox in
    /// the same way.
    pub fn still_opens(&self, client: ClientInfo<'_>, verified: &VerifiedLogin) -> bool {
        let Some(account) = self.find(verified.login()) else {
            return false;
        };
        let protocol = client.listener.protocol;
        account.protocols.contains(&protocol)
            && account.mailbox_of(protocol, verified.login()) == verified.mailbox()
            && account.registration.name == verified.account().registration.name
            && verified.password().is_none_or(|password| {
                usable(account, client).any(|other| other.password == password.password)
            })
    }

    /// Checks credentials locally. The fault is always [`Kind::Credentials`].
    pub async fn check(
        &self,
        client: ClientInfo<'_>,
        credentials: &Credentials,
    ) -> Result<VerifiedLogin, LoginRefused> {
        let login = credentials.login.to_lowercase();
        let account = self.find(&login);
        let known = account.is_some();
        self.lockouts.look(client.address, &login, known).await;
        let locked = || self.lockouts.is_locked(client.address, &login, known);
        if locked() {
            return Err(LoginRefused::locked_out());
        }
        let claim = account.map(|account| claim(account, client, &login, credentials));
        let (claim, why) = match claim {
            Some(Ok(claim)) => {
                let why = wrong_password(&claim, &credentials.password);
                (Some(claim), why)
            }
            Some(Err(why)) => (None, wrong_credentials(why)),
            None => (None, self.unknown(&login)),
        };
        let verified = self.checker.check(claim, &credentials.password).await;
        // Many guesses may run concurrently. Those checked after the failure that locks must not
        // learn whether they were right.
        if locked() {
            return Err(LoginRefused::locked_out());
        }
        if let Some(verified) = verified {
            if verified.unverified_password().is_none() {
                self.lockouts.succeeded(client.address, &login);
            }
            return Ok(verified);
        }
        Err(LoginRefused {
            fault: why,
            delay: self.lockouts.failed(
                client.address,
                &login,
                known,
                self.checker.fingerprint(&credentials.password),
            ),
        })
    }

    /// Builds the fault of a login that no account has.
    fn unknown(&self, login: &str) -> Fault {
        let why = "no account has this login";
        let meant = without_surroundings(login);
        if meant == login || self.find(meant).is_none() {
            return wrong_credentials(why);
        }
        let what = surroundings(login);
        wrong_credentials(&format!("{why}; without the {what} around it, one has"))
            .with_remedy("correct the login in the application: remove what is around it")
    }

    /// Waits until the identity provider may check a password. Per client address and login, no
    /// more checks are pending than failures are left before the lockout.
    pub async fn pending_check(
        &self,
        client: ClientInfo<'_>,
        verified: &VerifiedLogin,
    ) -> Result<PendingCheck, LoginRefused> {
        let (address, login) = (client.address, verified.login());
        match self.lockouts.permit_check(address, login).await {
            Some(in_progress) => Ok(PendingCheck {
                lockouts: self.lockouts.clone(),
                address,
                login: login.to_owned(),
                fingerprint: verified
                    .unverified_password()
                    .map(|password| self.checker.fingerprint(password)),
                _in_progress: in_progress,
            }),
            None => Err(LoginRefused::locked_out()),
        }
    }

    /// Finds the account of a login, ignoring case.
    pub fn find(&self, login: &str) -> Option<&Arc<Account>> {
        self.logins.find(login)
    }
}

fn wrong_credentials(why: &str) -> Fault {
    Fault::new(Kind::Credentials, why)
}

/// Builds the fault of a wrong password, with likely causes for the log.
fn wrong_password(claim: &Candidate, presented: &Secret) -> Fault {
    let why = "wrong password";
    let text = presented.expose();
    let begins = |password: &Arc<Password>| match &password.password {
        PasswordCheck::Plain(right) => {
            let beginning = right.expose().as_bytes().get(..text.len());
            right.expose().len() > text.len()
                && beginning.is_some_and(|beginning| bool::from(beginning.ct_eq(text.as_bytes())))
        }
        PasswordCheck::Hash(_) | PasswordCheck::Any => false,
    };
    if claim.passwords.iter().any(begins) {
        return wrong_credentials(&format!("{why}: it is the beginning of the right one"))
            .with_remedy("make the application send its response in one line: base64 that is wrapped cuts the password off");
    }
    if without_surroundings(text) != text {
        let what = surroundings(text);
        return wrong_credentials(&format!("{why}: it has {what} around it"))
            .with_remedy("correct the password in the application: remove what is around it");
    }
    wrong_credentials(why)
}

/// Names what surrounds a login or password.
fn surroundings(text: &str) -> &'static str {
    match text.trim() == without_surroundings(text) {
        true => "white space",
        false => "quotes, brackets or invisible characters",
    }
}

/// Collects the passwords that `login` may present for the account it resolved to.
fn claim(
    account: &Arc<Account>,
    client: ClientInfo<'_>,
    login: &str,
    credentials: &Credentials,
) -> Result<Candidate, &'static str> {
    let protocol = client.listener.protocol;
    if !account.protocols.contains(&protocol) {
        return Err("the account does not allow this protocol");
    }
    let mailbox = account.mailbox_of(protocol, login);
    let authorization = credentials
        .authorization
        .as_ref()
        .map(|name| name.to_lowercase());
    if authorization.is_some_and(|name| name != login && name != mailbox.to_lowercase()) {
        return Err(
            "the authorization identity that the client presents is neither the login nor the account's mailbox",
        );
    }
    let passwords: Vec<_> = usable(account, client).cloned().collect();
    let by_provider = account.registration.grant.needs_client_password();
    if passwords.is_empty() && !by_provider {
        return Err(
            "none of the account's passwords may be used from this address, listener and protocol, with the certificate that the client presents",
        );
    }
    Ok(Candidate {
        account: account.clone(),
        login: login.to_owned(),
        mailbox,
        passwords,
    })
}

/// Passwords of the account that may be used from the client's address, listener and certificate.
fn usable<'a>(
    account: &'a Account,
    client: ClientInfo<'a>,
) -> impl Iterator<Item = &'a Arc<Password>> {
    let near = move |password: &&Arc<Password>| {
        let networks = password.allow.as_ref();
        networks.is_none_or(|networks| {
            networks
                .iter()
                .any(|network| network.contains(&client.address))
        }) && password.protocols.contains(&client.listener.protocol)
    };
    let known = move |password: &&Arc<Password>| {
        let wanted = password.certificate.as_ref();
        wanted.is_none_or(|name| client.names.contains(name))
    };
    let here = move |password: &&Arc<Password>| match password.password {
        PasswordCheck::Any => client.listener.accepts_any_password(),
        PasswordCheck::Hash(_) | PasswordCheck::Plain(_) => true,
    };
    account
        .passwords
        .iter()
        .filter(near)
        .filter(known)
        .filter(here)
}
