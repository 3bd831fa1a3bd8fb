//! Cache keys: which requests may share a token.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aws_lc_rs::{hmac, rand};

use crate::cluster::keys::Keys;
use crate::config::{Account, ClientCredential, Grant, Registration};
use crate::secret::Secret;

/// Key of a cached token. Requests with equal keys share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CacheKey {
    pub(super) registration: String,
    /// Keyed hash of the registration's settings: a changed registration gets new tokens.
    version: [u8; 32],
    scope: String,
    /// Login or mailbox of the token; `None` if it serves all.
    pub(super) subject: Option<String>,
    /// Keyed hash of the client's password with the grant `password`, so that another password
    /// never gets this token.
    password: Option<[u8; 32]>,
}

impl CacheKey {
    /// Name under which several relays share the token.
    pub(super) fn name(&self, keys: &Keys) -> String {
        let hex = |digest: &[u8; 32]| -> String {
            digest.iter().map(|octet| format!("{octet:02x}")).collect()
        };
        let parts = [
            self.registration.as_str(),
            &hex(&self.version),
            &self.scope,
            self.subject.as_deref().unwrap_or_default(),
            &self.password.as_ref().map(hex).unwrap_or_default(),
        ];
        keys.name("token", &parts)
    }
}

/// Versions of the registrations as currently configured.
pub(super) struct RegistrationVersions {
    by_name: HashMap<String, [u8; 32]>,
    /// Derived from `state.key` if there is one, so that relays that share it agree.
    key: hmac::Key,
}

impl RegistrationVersions {
    pub(super) fn new(
        registrations: &BTreeMap<String, Arc<Registration>>,
        keys: Option<&Keys>,
    ) -> std::io::Result<Self> {
        let mut seed = [0; 32];
        match keys {
            Some(keys) => seed = keys.digest("registrations", &[]),
            None => {
                rand::fill(&mut seed).map_err(|_| std::io::Error::other("no random numbers"))?
            }
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &seed);
        Ok(Self::with(key, registrations))
    }

    pub(super) fn reconfigured(&self, registrations: &BTreeMap<String, Arc<Registration>>) -> Self {
        Self::with(self.key.clone(), registrations)
    }

    fn with(key: hmac::Key, registrations: &BTreeMap<String, Arc<Registration>>) -> Self {
        let by_name = registrations.iter();
        Self {
            by_name: by_name
                .map(|(name, registration)| (name.clone(), version(&key, registration)))
                .collect(),
            key,
        }
    }

    /// Whether the registration is unchanged since the key was created.
    pub(super) fn is_current(&self, key: &CacheKey) -> bool {
        self.by_name.get(&key.registration) == Some(&key.version)
    }

    pub(super) fn cache_key(
        &self,
        account: &Account,
        login: &str,
        mailbox: &str,
        password: Option<&Secret>,
    ) -> CacheKey {
        let registration = &account.registration;
        let subject = match registration.grant {
            Grant::ClientCredentials(_) | Grant::ManagedIdentity { .. } | Grant::Command { .. } => {
                None
            }
            Grant::AuthorizationCode(_) | Grant::DeviceCode(_) | Grant::Password(_) => Some(login),
            Grant::ServiceAccount(_) => Some(mailbox),
        };
        let version = self.by_name.get(&registration.name);
        CacheKey {
            registration: registration.name.clone(),
            version: version.copied().unwrap_or_default(),
            scope: account.scope().join(" "),
            subject: subject.map(str::to_owned),
            password: password
                .map(|password| digest(&hmac::sign(&self.key, password.expose().as_bytes()))),
        }
    }
}

/// Hashes a registration with its secrets.
fn version(key: &hmac::Key, registration: &Registration) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    // `Debug` output contains no secrets.
    context.update(format!("{registration:?}").as_bytes());
    let client_secret = match registration.grant.credential() {
        Some(ClientCredential::Secret(secret)) => Some(secret),
        Some(
            ClientCredential::ClientPassword
            | ClientCredential::Certificate(_)
            | ClientCredential::Federated(_),
        )
        | None => None,
    };
    let egress = registration.provider.egress.as_ref();
    let egress = egress.and_then(|egress| Some(&egress.credentials.as_ref()?.1));
    for secret in [client_secret, egress] {
        context.update(b"\0");
        context.update(secret.map_or("", Secret::expose).as_bytes());
    }
    digest(&context.sign())
}

fn digest(tag: &hmac::Tag) -> [u8; 32] {
    tag.as_ref().try_into().unwrap_or_default()
}
