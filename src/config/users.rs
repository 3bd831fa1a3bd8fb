//! Settings of `admin.users`: users who sign in to the administrators' listener by OpenID Connect.

use rustls_pki_types::CertificateDer;
use url::Url;

use super::key::words;
use super::provider::Egress;
use crate::secret::Secret;

/// Settings of the sign-in by OpenID Connect, from `admin.users`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Users {
    /// Identity provider's issuer identifier, compared exactly (OpenID Connect Discovery §4.3).
    pub issuer: String,
    /// Client id of the relay at the identity provider.
    pub client_id: String,
    /// Client secret of the relay at the identity provider.
    pub client_secret: Secret,
    /// Claim that contains a user's address.
    pub address_claim: AddressClaim,
    /// Users and groups with read access.
    pub viewers: Vec<Member>,
    /// Users and groups that may also test, authorize, forget and reload.
    pub operators: Vec<Member>,
    /// Authorities trusted in addition to the public roots.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Proxy to the identity provider, if any.
    pub egress: Option<Egress>,
}

impl Users {
    /// Whether equal claims mean the same user under `other`: the identity provider, the client and
    /// the claim are the same.
    pub fn names_people_like(&self, other: &Self) -> bool {
        self.issuer == other.issuer
            && self.client_id == other.client_id
            && self.address_claim == other.address_claim
    }
}

/// Entry of `admin.users.viewers` and `operators`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Member {
    /// Address of one user, lower case.
    Address(String),
    /// Group as named in the claim `groups` (Entra: its object id).
    Group(String),
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

/// Hosts of Entra, where the administrators of a tenant assign user principal names.
const ENTRA: [&str; 5] = [
    "login.microsoftonline.com",
    "login.microsoftonline.us",
    "login.partner.microsoftonline.cn",
    "login.chinacloudapi.cn",
    "sts.windows.net",
];

impl AddressClaim {
    /// Default claim for an issuer.
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
