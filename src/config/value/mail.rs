//! Values: logins, passwords, addresses and protocols.

use super::super::account::{CertificateName, LoginPattern, PasswordCheck, Protocols};
use super::super::field::Field;
use super::super::key::{Value, words};
use super::super::kind::Kind;
use super::super::provider::Mechanism;
use crate::secret::Secret;
use crate::wire::Protocol;
use crate::wire::address::Pattern;
use crate::wire::sasl::{CREDENTIAL_CAP, Credentials};

words! { impl Protocol { Imap = "imap", Pop3 = "pop3", Smtp = "smtp", } }
words! { impl Mechanism { Xoauth2 = "xoauth2", Oauthbearer = "oauthbearer", } }

impl Value for Protocols {
    fn read(field: &Field) -> Option<Self> {
        let items = field.list()?;
        if items.is_empty() {
            return field.reject("must name at least one of imap, pop3 and smtp");
        }
        let mut protocols = Self {
            imap: false,
            pop3: false,
            smtp: false,
        };
        for item in &items {
            match Protocol::read(item)? {
                Protocol::Imap => protocols.imap = true,
                Protocol::Pop3 => protocols.pop3 = true,
                Protocol::Smtp => protocols.smtp = true,
            }
        }
        Some(protocols)
    }

    fn kind() -> Kind {
        Protocol::kind().list(1)
    }
}

/// Reads an address, `*@domain`, `<>` or `*`.
impl Value for Pattern {
    const NONE: &'static str = "allows no address; name addresses or remove the key";

    fn read(field: &Field) -> Option<Self> {
        match Self::parse(field.text()?) {
            Ok(pattern) => Some(pattern),
            Err(why) => field.reject(why),
        }
    }

    fn kind() -> Kind {
        Kind::text("address, `*@domain`, `<>`, `*`")
    }
}

impl Value for LoginPattern {
    fn read(field: &Field) -> Option<Self> {
        let login = field.word()?.to_lowercase();
        if login.len() > CREDENTIAL_CAP {
            return field.reject("must have at most 255 octets");
        }
        match login.strip_prefix("*@") {
            _ if login == "*" => Some(Self::Any),
            Some(domain) if domain.contains(['*', '@']) || domain.is_empty() => {
                field.reject("must be *@domain, as in *@contoso.com")
            }
            Some(domain) => Some(Self::Domain(domain.to_owned())),
            None if login.contains('*') => field.reject(
                "may have a wildcard only as *@domain, as in *@contoso.com, or as * for every address",
            ),
            None => Some(Self::Exact(login)),
        }
    }

    fn kind() -> Kind {
        Kind::text("login, `*@domain`, `*`")
    }
}

impl Value for CertificateName {
    fn read(field: &Field) -> Option<Self> {
        let text = field.word()?;
        let name = match text.contains('@') {
            true => Self::address(text),
            false => Self::host(text),
        };
        match name {
            Some(name) => Some(name),
            None => field.reject(
                "must be a name as the client's certificate bears it in its subjectAltName: a host (dNSName, IDNA in its xn-- form) or an address (rfc822Name)",
            ),
        }
    }

    fn kind() -> Kind {
        Kind::text("host or address")
    }
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
            return match super::super::hash::cost(text) {
                Some(_) => Some(Self::Hash(secret)),
                None => field.reject(
                    "is no complete argon2id, argon2i or argon2d hash; quote it as `authrelay hash-password` prints it",
                ),
            };
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
