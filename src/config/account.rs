//! `accounts`: logins, mailboxes, passwords.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use super::keys::smtp_policy::SmtpPolicy;
use super::provider::Scopes;
use super::registration::{Grant, Registration};
use crate::secret::Secret;
use crate::wire::Protocol;

/// A login that clients may use, and the mailbox it opens.
#[derive(Debug)]
pub struct Account {
    /// Pattern of the account's logins.
    pub login: LoginPattern,
    /// Registration whose tokens open the mailbox.
    pub registration: Arc<Registration>,
    /// Mailbox by protocol. A wildcard account without one opens the login as presented.
    pub mailbox: Mailbox,
    /// Local passwords: at least one, or none if [`Grant::needs_client_password`].
    pub passwords: Vec<Arc<Password>>,
    /// Protocols over which clients may use the account.
    pub protocols: Protocols,
    /// Policy for sending; `None` allows everything.
    pub smtp: Option<SmtpPolicy>,
}

impl Account {
    /// Whether the account allows `protocol` and its provider offers it.
    pub fn serves(&self, protocol: Protocol) -> bool {
        self.protocols.contain(protocol) && self.registration.provider.endpoint(protocol).is_some()
    }

    /// Returns the mailbox that a login opens over a protocol; `login` is lower case.
    pub fn mailbox_of(&self, protocol: Protocol, login: &str) -> String {
        match (self.mailbox.of(protocol), &self.login) {
            (Some(mailbox), _) => mailbox.to_owned(),
            (None, LoginPattern::Exact(login)) => login.clone(),
            (None, LoginPattern::Domain(_) | LoginPattern::Any) => login.to_owned(),
        }
    }

    /// Scopes to request for the account's tokens (RFC 6749 §3.3).
    pub fn scope(&self) -> Vec<String> {
        let registration = &self.registration;
        if let Some(scope) = &registration.scope {
            return scope.clone();
        }
        let scopes = &registration.provider.scopes;
        match registration.grant {
            Grant::ClientCredentials(_) | Grant::ManagedIdentity { .. } | Grant::Command { .. } => {
                scopes.application.clone()
            }
            Grant::ServiceAccount(_) => self.delegated(scopes),
            Grant::AuthorizationCode(_) | Grant::DeviceCode(_) | Grant::Password(_) => {
                [self.delegated(scopes), scopes.offline.clone()].concat()
            }
        }
    }

    /// Scopes of the account's protocols that the provider offers, without duplicates.
    fn delegated(&self, scopes: &Scopes) -> Vec<String> {
        let mut wanted: Vec<String> = Vec::new();
        for (protocol, scope) in [
            (Protocol::Imap, &scopes.imap),
            (Protocol::Pop3, &scopes.pop3),
            (Protocol::Smtp, &scopes.smtp),
        ] {
            if self.protocols.contain(protocol) {
                wanted.extend(
                    scope
                        .iter()
                        .filter(|one| !wanted.contains(one))
                        .cloned()
                        .collect::<Vec<_>>(),
                );
            }
        }
        wanted
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

impl fmt::Display for LoginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(login) => f.write_str(login),
            Self::Domain(domain) => write!(f, "*@{domain}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// Mailboxes from `accounts[].mailbox`; `None` means the login itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mailbox {
    /// Mailbox over IMAP.
    pub imap: Option<String>,
    /// Mailbox over POP3.
    pub pop3: Option<String>,
    /// Mailbox over SMTP.
    pub smtp: Option<String>,
    /// `smtp: sender`: over SMTP the address in MAIL is the mailbox, if `smtp.senders` allows it
    /// (never with a bare `*`). `smtp` is then `None`.
    pub smtp_is_sender: bool,
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

/// One local password of an account.
#[derive(Debug, Clone)]
pub struct Password {
    /// Name of the application that uses it; logged as `credential`.
    pub name: Option<String>,
    /// Comparison with presented passwords.
    pub check: PasswordCheck,
    /// Networks from which it is valid; `None`: everywhere the listener allows.
    pub allow: Option<Vec<IpNet>>,
    /// Protocols for which it is valid.
    pub protocols: Protocols,
    /// Name that the client's certificate must contain.
    pub certificate: Option<CertificateName>,
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
    /// it](super::sections::Listener::accepts_any_password).
    Any,
}

/// Mail protocols that an account allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocols {
    /// Whether the set contains IMAP.
    pub imap: bool,
    /// Whether the set contains POP3.
    pub pop3: bool,
    /// Whether the set contains SMTP.
    pub smtp: bool,
}

impl Protocols {
    /// All three protocols.
    pub const ALL: Self = Self {
        imap: true,
        pop3: true,
        smtp: true,
    };

    /// Whether the set contains `protocol`.
    pub fn contain(self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Imap => self.imap,
            Protocol::Pop3 => self.pop3,
            Protocol::Smtp => self.smtp,
        }
    }
}

impl Default for Protocols {
    fn default() -> Self {
        Self::ALL
    }
}
