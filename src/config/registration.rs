//! `registrations`: OAuth clients and their grants.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use jsonwebtoken::EncodingKey;

use super::provider::Provider;
use crate::secret::Secret;

/// One OAuth client at a provider.
#[derive(Debug)]
pub struct Registration {
    /// Key of the registration under `registrations`.
    pub name: String,
    /// Where its tokens open mailboxes.
    pub provider: Arc<Provider>,
    /// The tenant, for advice; empty where the provider has none.
    pub tenant: String,
    /// The provider's `token_url` with `{tenant}` filled in: https, or http to loopback.
    pub token_url: url::Url,
    /// Authorization endpoint, its tenant filled in; present for [`Grant::AuthorizationCode`].
    pub authorize_url: Option<url::Url>,
    /// Device authorization endpoint, its tenant filled in; present for [`Grant::DeviceCode`].
    pub device_url: Option<url::Url>,
    /// OAuth `client_id`; empty for grants that have none.
    pub client_id: String,
    /// Grant by which tokens are obtained.
    pub grant: Grant,
    /// Scopes to request, where the file names them: see
    /// [`Account::scope`](super::account::Account::scope).
    pub scope: Option<Vec<String>>,
    /// When the client secret or the certificate ends, in seconds since 1970, if that is known.
    pub credential_expires: Option<i64>,
}

/// `registrations.*.grant` with what it needs.
#[derive(Debug)]
pub enum Grant {
    /// RFC 6749 §4.4: the application's own token opens every mailbox it may.
    ClientCredentials(ClientCredential),
    /// RFC 6749 §4.1 with PKCE: a person consents in a browser.
    AuthorizationCode(Option<ClientCredential>),
    /// RFC 8628: a person consents on another device.
    DeviceCode(Option<ClientCredential>),
    /// RFC 6749 §4.3: the client's own password goes to the identity provider.
    Password(Option<ClientCredential>),
    /// RFC 7523 §2.1 with Google's `sub`: a service account acts for each mailbox.
    ServiceAccount(ServiceAccount),
    /// Azure's instance metadata service issues the token.
    ManagedIdentity {
        /// Client id that selects one of several identities.
        client_id: Option<String>,
        /// URL of the metadata service.
        url: url::Url,
    },
    /// A program that prints a token.
    Command {
        /// Program that is run, without a shell.
        program: PathBuf,
        /// Arguments of the program, each passed as it is.
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

    /// Whether a person consents once and a refresh token is kept.
    pub fn needs_consent(&self) -> bool {
        matches!(self, Self::AuthorizationCode(_) | Self::DeviceCode(_))
    }

    /// Whether the application's own token opens mailboxes, and no one signs in.
    pub fn is_app_only(&self) -> bool {
        matches!(
            self,
            Self::ClientCredentials(_) | Self::ManagedIdentity { .. }
        )
    }

    /// Whether the client's own password goes to the identity provider, which checks it; then the
    /// account has no local password.
    pub fn needs_client_password(&self) -> bool {
        matches!(
            self,
            Self::Password(_) | Self::ClientCredentials(ClientCredential::ClientPassword)
        )
    }

    /// How the client proves itself, where it does.
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

/// How an OAuth client proves itself to the token endpoint.
#[derive(Debug)]
pub enum ClientCredential {
    /// Client secret, from `client_secret`.
    Secret(Secret),
    /// `client_secret: {client: password}`: what the mail client presents is the secret, which the
    /// identity provider checks. With [`Grant::ClientCredentials`] only.
    ClientPassword,
    /// `certificate`: an assertion signed by its key (RFC 7523 §2.2).
    Certificate(SigningKey),
    /// `federated`: an assertion of somebody else, in a file that is read again each time.
    Federated(PathBuf),
}

/// A certificate and its RSA key, for assertions.
pub struct SigningKey {
    /// SHA-256 of the certificate in DER, base64url: `x5t#S256`.
    pub thumbprint: String,
    /// The certificate in DER; empty for a key without one.
    pub certificate: Vec<u8>,
    /// Private key that signs assertions.
    pub key: EncodingKey,
    /// Where the certificate's validity ends, in seconds since 1970.
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
