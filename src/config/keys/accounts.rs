//! `accounts[]`.

use ipnet::IpNet;

use super::super::key::{Key, Value, section};
use super::smtp_policy::SmtpPolicy;
use crate::config::account::{CertificateName, LoginPattern, Mailbox, PasswordCheck, Protocols};
use crate::config::field::Field;
use crate::config::kind::Kind;
use crate::config::value::Each;
use crate::wire::sasl::CREDENTIAL_CAP;

section! {
    /// `accounts[]`.
    pub(in crate::config) struct AccountKeys {
        /// Login that the application presents, in upper or lower case; `*@contoso.com`: every address of a domain; `*`: every address (not with `password: any`). An exact login takes precedence over a domain, a domain over `*`
        pub(in crate::config) login: Key<LoginPattern> => "the user name of the application, *@domain, or * for every address",
        /// Registration whose tokens open the mailbox: a name under `registrations`
        pub(in crate::config) registration: Key<String> => "the name of one of the registrations",
        /// Address of the mailbox that the login opens, for example a shared mailbox
        pub(in crate::config) mailbox: Key<Mailbox>: "the login",
        /// An argon2 hash from `authrelay hash-password`, a secret, or `any` (only on loopback listeners and those with `allow`). Required, except with the grant `password` and `client_secret: {client: password}`, which refuse one
        pub(in crate::config) password: Key<PasswordCheck>,
        /// Several passwords, one for each application; the log names which was used
        pub(in crate::config) passwords: Key<Each<PasswordKeys>>,
        /// Protocols that clients may use
        pub(in crate::config) protocols: Key<Protocols>: "all",
        /// Policy for messages; see [below](#smtp-devices-policy-limits)
        pub(in crate::config) smtp: Key<SmtpPolicy>: "everything",
    }
}

section! {
    /// `accounts[].mailbox` by protocol.
    pub(in crate::config) struct MailboxKeys {
        /// Mailbox over IMAP
        pub(in crate::config) imap: Option<MailboxName>: "the login",
        /// Mailbox over POP3
        pub(in crate::config) pop3: Option<MailboxName>: "the login",
        /// Mailbox over SMTP. `sender`: the address of each MAIL command, which `smtp.senders` must allow (`client_credentials` only; no bare `*` there)
        pub(in crate::config) smtp: Option<MailboxName>: "the login",
    }
}

/// The address of a mailbox.
#[derive(Debug, Clone)]
pub(in crate::config) struct MailboxName(String);

impl Value for MailboxName {
    fn read(field: &Field) -> Option<Self> {
        let name = field.word()?;
        if name.len() > CREDENTIAL_CAP || name.contains([' ', '*']) {
            return field.reject("must be one mailbox's address");
        }
        Some(Self(name.to_owned()))
    }

    fn kind() -> Kind {
        Kind::text("address")
    }
}

/// One mailbox, or one for each protocol.
impl Value for Mailbox {
    fn read(field: &Field) -> Option<Self> {
        if !field.is_section() {
            let MailboxName(name) = MailboxName::read(field)?;
            return Some(Self {
                imap: Some(name.clone()),
                pop3: Some(name.clone()),
                smtp: Some(name),
                smtp_is_sender: false,
            });
        }
        let keys = MailboxKeys::read(field)?;
        let name = |key: Option<MailboxName>| key.map(|MailboxName(name)| name);
        let smtp = name(keys.smtp);
        let smtp_is_sender = smtp.as_deref() == Some("sender");
        Some(Self {
            imap: name(keys.imap),
            pop3: name(keys.pop3),
            smtp: smtp.filter(|_| !smtp_is_sender),
            smtp_is_sender,
        })
    }

    fn kind() -> Kind {
        MailboxName::kind().or(MailboxKeys::kind())
    }
}

section! {
    /// `accounts[].passwords[]`.
    pub(in crate::config) struct PasswordKeys {
        /// Name of the application, for the log
        pub(in crate::config) name: String => "what the password is for; it appears in the log",
        /// As `accounts[].password`
        pub(in crate::config) password: PasswordCheck => "a hash from `authrelay hash-password`, {file: PATH} or {env: NAME}",
        /// Client networks from which the password is valid, within those of the listener
        pub(in crate::config) allow: Option<Vec<IpNet>>: "the listener's",
        /// Protocols for which the password is valid
        pub(in crate::config) protocols: Option<Protocols>: "the account's",
        /// Name that the client's certificate must have in its subjectAltName: a host (dNSName) or an address (rfc822Name). Requires `client_ca` on a listener
        pub(in crate::config) certificate: Option<CertificateName>: "none",
    }
}
