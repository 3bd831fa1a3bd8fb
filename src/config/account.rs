//! Logins, mailboxes and passwords, from `accounts`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use argon2::{Algorithm, Params, PasswordHash, Version};
use ipnet::IpNet;

use super::field::Field;
use super::key::{Form, Key, Restriction as _, Text, Value, section};
use super::kind::Kind;
use super::registration::Registration;
use super::smtp_policy::SmtpPolicy;
use super::value::Each;
use crate::secret::Secret;
use crate::wire::Protocol;
use crate::wire::sasl::{CREDENTIAL_CAP, Credentials};

section! {
    /// A login that clients may use, and the mailbox it opens. A wildcard without `mailbox` opens the
    /// login as presented. There are passwords unless the grant
    /// [needs the client's](super::registration::Grant::needs_client_password).
    pub struct Account from AccountKeys {
        /// Login that the application presents, in upper or lower case; `*@contoso.com`: every address of a domain; `*`: every address (not with `password: any`). An exact login takes precedence over a domain, a domain over `*`
        pub login: LoginPattern => "the user name of the application, *@domain, or * for every address",
        /// Registration whose tokens open the mailbox: a name under `registrations`
        pub registration: Arc<Registration> as String => "the name of one of the registrations",
        /// Address of the mailbox that the login opens, for example a shared mailbox
        pub mailbox: Mailbox: "the login",
    }
    keys {
        /// An argon2 hash from `authrelay hash-password`, a secret, or `any` (only on loopback listeners and those with `allow`). Required, except with the grant `password` and `client_secret: {client: password}`, which refuse one
        password: PasswordCheck,
    }
    {
        /// Several passwords, one for each application; the log names which was used
        pub passwords: Vec<Arc<Password>> as Each<Password>,
        /// Protocols that clients may use
        pub protocols: Vec<Protocol>: "all",
        /// Policy for messages; see [below](#smtp-devices-policy-limits)
        pub smtp: Option<SmtpPolicy>: "everything",
    }
}

impl Account {
    /// Whether the account allows `protocol` and its provider offers it.
    pub fn serves(&self, protocol: Protocol) -> bool {
        self.protocols.contains(&protocol)
            && self.registration.provider.endpoint(protocol).is_some()
    }

    /// Protocols that the account serves, in the order of [`Protocol::ALL`].
    pub fn served(&self) -> impl Iterator<Item = Protocol> {
        Protocol::ALL
            .into_iter()
            .filter(|protocol| self.serves(*protocol))
    }

    /// Returns the mailbox that a login opens over a protocol; `login` is lower case.
    pub fn mailbox_of(&self, protocol: Protocol, login: &str) -> String {
        match (self.mailbox.of(protocol), &self.login) {
            (Some(mailbox), _) => mailbox.to_owned(),
            (None, LoginPattern::Exact(login)) => login.clone(),
            (None, LoginPattern::Domain(_) | LoginPattern::Any) => login.to_owned(),
        }
    }

    /// Returns the mailbox of a login over the first protocol that the account allows: the one that a
    /// consent is for.
    pub fn first_mailbox(&self, login: &str) -> String {
        let mut protocols = Protocol::ALL.into_iter();
        let first = protocols.find(|protocol| self.protocols.contains(protocol));
        self.mailbox_of(first.unwrap_or(Protocol::Imap), login)
    }

    /// Scopes to request for the account's tokens (RFC 6749 §3.3).
    pub fn scope(&self) -> Vec<String> {
        let registration = &self.registration;
        let scopes = &registration.provider.preset.scopes;
        let default = || registration.grant.default_scope(scopes, &self.protocols);
        registration.scope.clone().unwrap_or_else(default)
    }
}

/// Pattern of logins from `accounts[].login`, lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LoginPattern {
    /// One login, compared without regard to case.
    Exact(String),
    /// `*@domain`: every well-formed address of the domain, stored without `*@`.
    Domain(String),
    /// `*`: every well-formed address.
    Any,
}

impl LoginPattern {
    /// Whether the pattern covers logins that the file does not name.
    pub fn is_wildcard(&self) -> bool {
        !matches!(self, Self::Exact(_))
    }
}

impl Text for LoginPattern {
    const KIND: &'static str = "login, `*@domain`, `*`";

    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        let login = text.to_lowercase();
        if login.len() > CREDENTIAL_CAP {
            return Err("must have at most 255 octets".into());
        }
        match login.strip_prefix("*@") {
            _ if login == "*" => Ok(Self::Any),
            Some(domain) if domain.contains(['*', '@']) || domain.is_empty() => {
                Err("must be *@domain, as in *@contoso.com".into())
            }
            Some(domain) => Ok(Self::Domain(domain.to_owned())),
            None if login.contains('*') => Err(
                "may have a wildcard only as *@domain, as in *@contoso.com, or as * for every address".into(),
            ),
            None => Ok(Self::Exact(login)),
        }
    }
}

impl fmt::Display for LoginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(login) => f.write_str(login),
            Self::Domain(domain) => write!(f, "*@{domain}"),
            Self::Any => f.write_str("*"),
        }
    }
}

section! {
    /// Mailboxes by protocol, from `accounts[].mailbox`; `None` means the login itself.
    #[derive(Default, PartialEq, Eq)]
    pub struct Mailbox from MailboxKeys {
        /// Mailbox over IMAP
        pub imap: Option<String>[MAILBOX]: "the login",
        /// Mailbox over POP3
        pub pop3: Option<String>[MAILBOX]: "the login",
        /// Mailbox over SMTP. `sender`: the address of each MAIL command, which `smtp.senders` must allow (`client_credentials` only; no bare `*` there)
        pub smtp: Option<String>[MAILBOX]: "the login",
    }
    with {
        /// `smtp: sender`: over SMTP the address in MAIL is the mailbox, if `smtp.senders` allows it
        /// (never with a bare `*`). `smtp` is then `None`.
        pub smtp_is_sender: bool,
    }
}

impl Mailbox {
    /// Mailbox configured for `protocol`.
    pub fn of(&self, protocol: Protocol) -> Option<&str> {
        match protocol {
            Protocol::Imap => self.imap.as_deref(),
            Protocol::Pop3 => self.pop3.as_deref(),
            Protocol::Smtp => self.smtp.as_deref(),
        }
    }
}

/// The address of a mailbox.
const MAILBOX: Form<String> = Form {
    kind: "address",
    parse: |text| match text.len() > CREDENTIAL_CAP || text.contains([' ', '*']) {
        true => Err("must be one mailbox's address".into()),
        false => Ok(text.to_owned()),
    },
};

/// One mailbox, or one for each protocol.
impl Value for Mailbox {
    fn read(field: &Field) -> Option<Self> {
        if !field.is_section() {
            let name = Some(MAILBOX.read(field)?);
            return Some(Self {
                imap: name.clone(),
                pop3: name.clone(),
                smtp: name,
                smtp_is_sender: false,
            });
        }
        let mut keys = MailboxKeys::read(field)?;
        let smtp_is_sender = keys.smtp.given().is_some_and(|name| name == "sender");
        if smtp_is_sender {
            keys.smtp = Key::Absent;
        }
        Some(Self {
            smtp_is_sender,
            ..keys.finish()?
        })
    }

    fn kind() -> Kind {
        MAILBOX.kind().or(MailboxKeys::kind())
    }
}

section! {
    /// One local password of an account, from `accounts[].passwords[]` or `accounts[].password`.
    pub struct Password {
        /// Name of the application, for the log
        pub name: Option<String> => "what the password is for; it appears in the log",
        /// As `accounts[].password`
        pub password: PasswordCheck => "a hash from `authrelay hash-password`, {file: PATH} or {env: NAME}",
        /// Client networks from which the password is valid, within those of the listener
        pub allow: Option<Vec<IpNet>>: "the listener's",
        /// Protocols for which the password is valid
        pub protocols: Vec<Protocol> = "[imap, pop3, smtp]": "the account's",
        /// Name that the client's certificate must have in its subjectAltName: a host (dNSName) or an address (rfc822Name). Requires `client_ca` on a listener
        pub certificate: Option<CertificateName>: "none",
    }
}

/// Name in a certificate's subjectAltName, normalized for comparison: hosts ignore case (RFC 4343),
/// addresses only in their domain (RFC 5280 §7.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateName(String);

impl CertificateName {
    /// Creates the name from a dNSName. `None` if `text` is not a host name. Wildcards are
    /// rejected: they describe whom a client may be, not who it is.
    pub fn host(text: &str) -> Option<Self> {
        is_host(text).then(|| Self(text.to_ascii_lowercase()))
    }

    /// Creates the name from an rfc822Name. `None` if `text` is not an address.
    pub fn address(text: &str) -> Option<Self> {
        let (local, domain) = text.rsplit_once('@')?;
        let printable = |text: &str| text.bytes().all(|octet| octet.is_ascii_graphic());
        let good = !local.is_empty() && printable(local) && is_host(domain);
        good.then(|| Self(format!("{local}@{}", domain.to_ascii_lowercase())))
    }
}

impl Text for CertificateName {
    const KIND: &'static str = "host or address";

    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        let name = match text.contains('@') {
            true => Self::address(text),
            false => Self::host(text),
        };
        name.ok_or_else(|| {
            "must be a name as the client's certificate bears it in its subjectAltName: a host (dNSName, IDNA in its xn-- form) or an address (rfc822Name)".into()
        })
    }
}

fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
    };
    text.len() <= 255 && text.split('.').all(label)
}

/// Comparison with presented passwords.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordCheck {
    /// Hash of the password: an argon2 PHC string.
    Hash(Secret),
    /// The password itself, in clear.
    Plain(Secret),
    /// Any password, on listeners that [accept
    /// it](super::listener::Listener::accepts_any_password).
    Any,
}

impl Value for PasswordCheck {
    fn read(field: &Field) -> Option<Self> {
        const OTHERS: [&str; 10] = [
            "$2a$", "$2b$", "$2y$", "$1$", "$5$", "$6$", "$y$", "$scrypt$", "$pbkdf2", "{SSHA",
        ];
        if field.is_word("any") {
            field
                .warn("any: anyone who reaches the listener opens this mailbox, with any password");
            return Some(Self::Any);
        }
        let secret = Secret::read(field)?;
        let text = secret.expose();
        if text.is_empty() {
            // Empty if secrets are not read.
            return Some(Self::Plain(secret));
        }
        if text.starts_with("$argon2") {
            field.accept(hash_cost(text).ok_or(
                "is not a complete argon2id, argon2i or argon2d hash; quote it as `authrelay hash-password` prints it",
            ))?;
            return Some(Self::Hash(secret));
        }
        if OTHERS.iter().any(|scheme| text.starts_with(scheme)) {
            return field.reject(
                "looks like a hash other than argon2; make one with `authrelay hash-password`",
            );
        }
        if Credentials::new(b"login", text.as_bytes()).is_err() {
            return field.reject(
                "could never be presented: a password has 1 to 255 octets and no control characters",
            );
        }
        Some(Self::Plain(secret))
    }

    fn kind() -> Kind {
        Secret::kind().named("secret, argon2 hash, `any`")
    }
}

/// Describes the cost of checking an argon2 hash in a PHC string; hashes of different cost differ in
/// timing. `None` if the hash is incomplete: no password would ever match it.
pub(super) fn hash_cost(phc: &str) -> Option<String> {
    let hash = PasswordHash::new(phc).ok()?;
    let (Some(_), Some(_)) = (&hash.salt, &hash.hash) else {
        return None;
    };
    let algorithm = Algorithm::new(hash.algorithm.as_str()).ok()?;
    if let Some(version) = hash.version {
        Version::try_from(version).ok()?;
    }
    let params = Params::try_from(&hash).ok()?;
    let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
    let algorithm = algorithm.as_str();
    Some(format!("{algorithm} m={memory},t={passes},p={lanes}"))
}
