//! Reads `admin.users`: users who sign in to the administrators' listener by OpenID Connect.

use std::borrow::Cow;
use std::sync::Arc;

use url::Url;

use super::field::Field;
use super::key::{Form, Text, Value, section, words};
use super::kind::Kind;
use super::provider::Egress;
use super::value::{Certificates, https, is_loopback};
use crate::secret::Secret;
use crate::wire::address::Pattern;

section! {
    /// Settings of the sign-in by OpenID Connect, from `admin.users`.
    #[derive(PartialEq, Eq)]
    pub struct Users from UsersKeys {
        /// Issuer of the identity provider, exactly as it names itself: https, or http to loopback. Entra: `https://login.microsoftonline.com/TENANT-ID/v2.0`
        pub issuer: String[ISSUER] => "the identity provider's issuer, as in https://login.microsoftonline.com/TENANT-ID/v2.0",
        /// Client id of the relay's registration at the identity provider
        pub client_id: String => "the client id of the relay's own registration there",
        /// Client secret of the relay's registration
        pub client_secret: Secret => "the client secret of the relay's own registration there",
        /// Groups (as in the claim `groups`; Entra: object ids) and addresses of people who may look
        pub viewers: Vec<Member>: "none",
        /// Groups and addresses of people who may also test, authorize, forget and reload
        pub operators: Vec<Member>: "none",
        /// Claim with a person's address. `email` counts only with `email_verified`; use another claim only if people cannot choose its value
        pub address_claim: AddressClaim: "`preferred_username` at Entra, else `email`",
        /// PEM files of authorities that are trusted in addition to the public roots
        pub ca: Certificates = "[]": "none",
        /// The proxy that everything towards the identity provider goes through
        pub egress: Option<Egress>: "none",
    }
}

impl Value for Arc<Users> {
    fn read(field: &Field) -> Option<Self> {
        let mut keys = UsersKeys::read(field)?;
        if keys.viewers.is_absent() && keys.operators.is_absent() {
            field.problem("lets no one in: write viewers or operators, each a list of groups' object ids or people's addresses");
        }
        keys.viewers.default_from(|| Some(Vec::new()));
        keys.operators.default_from(|| Some(Vec::new()));
        if let (Some(viewers), Some(operators)) = (keys.viewers.given(), keys.operators.given()) {
            check_twice(field, viewers, operators);
        }
        let issuer = keys.issuer.given();
        let issuer = issuer.and_then(|issuer| Url::parse(issuer).ok());
        keys.address_claim
            .default_from(|| match is_entra(&issuer?) {
                true => Some(AddressClaim::PreferredUsername),
                false => Some(AddressClaim::Email),
            });
        keys.finish().map(Self::new)
    }

    fn kind() -> Kind {
        UsersKeys::kind()
    }
}

impl Users {
    /// Checks that browsers return over TLS: the redirect to `public_url` contains the code.
    pub(super) fn check_public_url(field: &Field, public_url: &Url) {
        if public_url.scheme() != "https" && !is_loopback(public_url) {
            field.problem(format_args!(
                "signs people in at admin.public_url ({public_url}), which must begin with https:// off loopback"
            ));
        }
    }

    /// Whether equal claims mean the same user under `other`: the identity provider, the client and
    /// the claim are the same.
    pub fn names_people_like(&self, other: &Self) -> bool {
        self.issuer == other.issuer
            && self.client_id == other.client_id
            && self.address_claim == other.address_claim
    }
}

/// Checks that each member is in only one list, and only once.
fn check_twice(field: &Field, viewers: &[Member], operators: &[Member]) {
    for (key, list) in [("viewers", viewers), ("operators", operators)] {
        let written = field.has_key(key).then(|| field.at(key).list());
        let items = written.flatten().unwrap_or_default();
        for (index, (member, item)) in list.iter().zip(items).enumerate() {
            if list.iter().take(index).any(|other| other == member) {
                item.problem("is in the list twice; keep one");
            } else if key == "viewers" && operators.contains(member) {
                item.problem(
                    "is also in operators, who may do all that viewers may; keep it in one list",
                );
            }
        }
    }
}

/// Hosts of Entra, where the administrators of a tenant assign user principal names.
const ENTRA: [&str; 5] = [
    "login.microsoftonline.com",
    "login.microsoftonline.us",
    "login.partner.microsoftonline.cn",
    "login.chinacloudapi.cn",
    "sts.windows.net",
];

fn is_entra(issuer: &Url) -> bool {
    issuer.host_str().is_some_and(|host| ENTRA.contains(&host))
}

/// An issuer identifier (OpenID Connect Core §2): no query, no fragment, one tenant.
const ISSUER: Form<String> = Form {
    kind: "text",
    parse: |text| {
        let url = https(text, "")?;
        if url.query().is_some() || url.fragment().is_some() || text.contains('{') {
            return Err(
                "must be only the issuer, as in https://login.microsoftonline.com/TENANT-ID/v2.0"
                    .into(),
            );
        }
        let tenant = url.path_segments().and_then(|mut parts| parts.next());
        if is_entra(&url) && matches!(tenant, Some("" | "common" | "organizations" | "consumers")) {
            return Err("would admit people of every tenant: name yours, as in https://login.microsoftonline.com/TENANT-ID/v2.0".into());
        }
        Ok(text.to_owned())
    },
};

/// Entry of `admin.users.viewers` and `operators`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Member {
    /// Address of one user, lower case.
    Address(String),
    /// Group as named in the claim `groups` (Entra: its object id).
    Group(String),
}

impl Text for Member {
    const KIND: &'static str = "group or address";
    const NONE: &'static str = "is empty; name groups or people, or remove the key";

    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        let text = text.trim();
        if text.contains('*') {
            return Err("names no one in particular: write a group's id or one address".into());
        }
        if !text.contains('@') {
            return Ok(Self::Group(text.to_owned()));
        }
        Pattern::parse(text)?;
        Ok(Self::Address(text.to_lowercase()))
    }
}

words! {
    /// Claim that contains a user's address, from `admin.users.address_claim`.
    pub enum AddressClaim {
        /// `email`, if `email_verified` is true.
        Email = "email",
        /// `preferred_username`.
        PreferredUsername = "preferred_username",
        /// `upn`.
        Upn = "upn",
    }
}
