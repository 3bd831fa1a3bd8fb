//! `admin.users`: people who sign in to the administrators' listener by OpenID Connect.

use rustls_pki_types::CertificateDer;
use url::Url;

use super::key::words;
use super::provider::Egress;
use crate::secret::Secret;

/// Settings of the sign-in by OpenID Connect, from `admin.users`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Users {
    /// Identity provider's issuer identifier, to the letter (OpenID Connect Discovery §4.3).
    pub issuer: String,
    /// Client id of the relay at the identity provider.
    pub client_id: String,
    /// Client secret of the relay at the identity provider.
    pub client_secret: Secret,
    /// Claim that counts as a person's address.
    pub address_claim: AddressClaim,
    /// People and groups who may look at everything.
    pub viewers: Vec<Member>,
    /// People and groups who may also test, authorize, forget and reload.
    pub operators: Vec<Member>,
    /// Authorities that are trusted in addition to the public roots.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Proxy that leads to the identity provider, if there is one.
    pub egress: Option<Egress>,
}

impl Users {
    /// Whether claims mean the same people as under `other`: by the same identity provider, for the
    /// same client, by the same claim.
    pub fn names_people_like(&self, other: &Self) -> bool {
        self.issuer == other.issuer
            && self.client_id == other.client_id
            && self.address_claim == other.address_claim
    }
}

/// Entry of `admin.users.viewers` and `operators`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Member {
    /// Address of one person, in lower case.
    Address(String),
    /// Group as the claim `groups` has it (Entra: its object id).
    Group(String),
}

words! {
    /// Claim that counts as a person's address, from `admin.users.address_claim`.
    pub enum AddressClaim {
        /// `email`, where `email_verified` is true.
        Email = "email",
        /// `preferred_username`.
        PreferredUsername = "preferred_username",
        /// `upn`.
        Upn = "upn",
    }
}

/// Hosts of Entra, whose tenants' administrators give the user principal names.
const ENTRA: [&str; 5] = [
    "login.microsoftonline.com",
    "login.microsoftonline.us",
    "login.partner.microsoftonline.cn",
    "login.chinacloudapi.cn",
    "sts.windows.net",
];

impl AddressClaim {
    /// Claim for an issuer whose file names none.
    pub(super) fn usual(issuer: &Url) -> Self {
        match is_entra(issuer) {
            true => Self::PreferredUsername,
            false => Self::Email,
        }
    }
}

/// Whether an issuer is a tenant of Entra.
pub(super) fn is_entra(issuer: &Url) -> bool {
    issuer.host_str().is_some_and(|host| ENTRA.contains(&host))
}
