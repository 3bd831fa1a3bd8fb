//! Registrations: OAuth clients and their grants.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use jsonwebtoken::EncodingKey;

use super::provider::Provider;
use crate::secret::Secret;

/// One OAuth client at a provider.
#[derive(Debug)]
pub struct Registration {
    /// Name of the registration, its key under `registrations`.
    pub name: String,
    /// Provider whose mailboxes the tokens open.
    pub provider: Arc<Provider>,
    /// Tenant, for remedies; empty if the provider has none.
    pub tenant: String,
    /// Token endpoint with the tenant filled in: https, or http to loopback.
    pub token_url: url::Url,
    /// Authorization endpoint with the tenant filled in; present for [`Grant::AuthorizationCode`].
    pub authorize_url: Option<url::Url>,
    /// Device authorization endpoint with the tenant filled in; present for [`Grant::DeviceCode`].
    pub device_url: Option<url::Url>,
    /// OAuth `client_id`; empty for grants that have none.
    pub client_id: String,
    /// Grant by which tokens are obtained.
    pub grant: Grant,
    /// Scopes to request, if the file sets them: see
    /// [`Account::scope`](super::account::Account::scope).
    pub scope: Option<Vec<String>>,
    /// Expiry of the client secret or certificate, in seconds since 1970, if known.
    pub credential_expires: Option<i64>,
}

/// Grant from `registrations.*.grant`, with its settings.
#[derive(Debug)]
pub enum Grant {
    /// Client credentials (RFC 6749 §4.4): an app-only token opens all permitted mailboxes.
    ClientCredentials(ClientCredential),
    /// Authorization code with PKCE (RFC 6749 §4.1): a user consents in a browser.
    AuthorizationCode(Option<ClientCredential>),
    /// Device code (RFC 8628): a user consents on another device.
    DeviceCode(Option<ClientCredential>),
    /// Password (RFC 6749 §4.3): the client's own password is sent to the identity provider.
    Password(Option<ClientCredential>),
    /// JWT bearer (RFC 7523 §2.1) with Google's `sub`: a service account acts for each mailbox.
    ServiceAccount(ServiceAccount),
    /// Managed identity: Azure's instance metadata service issues the token.
    ManagedIdentity {
        /// Client id that selects one of several identities.
        client_id: Option<String>,
        /// URL of the metadata service.
        url: url::Url,
    },
    /// A command that prints a token.
    Command {
        /// Program, run without a shell.
        program: PathBuf,
        /// Arguments, passed unchanged.
        arguments: Vec<String>,
    },
}

impl Grant {
    /// Name of the grant in `proxy.yaml`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ClientCredentials(_) => "client_credentials",
            Self::AuthorizationCode(_) => "authorization_code",
            Self::DeviceCode(_) => "device_code",
            Self::Password(_) => "password",
            Self::ServiceAccount(_) => "service_account",
            Self::ManagedIdentity { .. } => "managed_identity",
            Self::Command { .. } => "command",
        }
    }

    /// Whether a user consents once and a refresh token is stored.
    pub fn needs_consent(&self) -> bool {
        matches!(self, Self::AuthorizationCode(_) | Self::DeviceCode(_))
    }

    /// Whether app-only tokens open mailboxes, without a user.
    pub fn is_app_only(&self) -> bool {
        matches!(
            self,
            Self::ClientCredentials(_) | Self::ManagedIdentity { .. }
        )
    }

    /// Whether the identity provider checks the client's password; the account then has no local
    /// passwords.
    pub fn needs_client_password(&self) -> bool {
        matches!(
            self,
            Self::Password(_) | Self::ClientCredentials(ClientCredential::ClientPassword)
        )
    }

    /// Client authentication, if the grant uses one.
    pub fn credential(&self) -> Option<&ClientCredential> {
        match self {
            Self::ClientCredentials(credential) => Some(credential),
            Self::AuthorizationCode(credential)
            | Self::DeviceCode(credential)
            | Self::Password(credential) => credential.as_ref(),
            Self::ServiceAccount(_) | Self::ManagedIdentity { .. } | Self::Command { .. } => None,
        }
    }
}

/// Client authentication at the token endpoint.
#[derive(Debug)]
pub enum ClientCredential {
    /// Client secret, from `client_secret`.
    Secret(Secret),
    /// `client_secret: {client: password}`: the password that the mail client presents is the
    /// secret, and the identity provider checks it. With [`Grant::ClientCredentials`] only.
    ClientPassword,
    /// Client assertion signed by the key of `certificate` (RFC 7523 §2.2).
    Certificate(SigningKey),
    /// Client assertion of another issuer, in a file that is read for each request.
    Federated(PathBuf),
}

/// RSA key that signs assertions, with its certificate.
pub struct SigningKey {
    /// SHA-256 of the certificate in DER, base64url, for `x5t#S256`.
    pub thumbprint: String,
    /// Certificate in DER; empty for a key without one.
    pub certificate: Vec<u8>,
    /// Private key that signs assertions.
    pub key: EncodingKey,
    /// Expiry of the certificate, in seconds since 1970.
    pub expires: Option<i64>,
}

/// Google's JSON key of a service account.
pub struct ServiceAccount {
    /// Name of the account, from `client_email`.
    pub email: String,
    /// Id of the key, from `private_key_id`.
    pub key_id: String,
    /// Private key that signs assertions, from `private_key`.
    pub key: EncodingKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.thumbprint)
    }
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceAccount({} {})", self.email, self.key_id)
    }
}
