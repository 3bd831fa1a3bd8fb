//! Values: addresses, protocols and mechanisms.

use super::super::field::Field;
use super::super::key::{Value, words};
use super::super::kind::Kind;
use crate::wire::Protocol;
use crate::wire::address::Pattern;
use crate::wire::sasl::Mechanism;

words! {
    impl Protocol { Imap = "imap", Pop3 = "pop3", Smtp = "smtp", }
    "must name at least one of imap, pop3 and smtp"
}
words! { impl Mechanism { Xoauth2 = "xoauth2", Oauthbearer = "oauthbearer", } }

/// Reads an address, `*@domain`, `<>` or `*`.
impl Value for Pattern {
    const NONE: &'static str = "allows no address; name addresses or remove the key";

    fn read(field: &Field) -> Option<Self> {
        field.accept(Self::parse(field.text()?))
    }

    fn kind() -> Kind {
        Kind::text("address, `*@domain`, `<>`, `*`")
    }
}
