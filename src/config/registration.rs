//! OAuth clients and their grants, from `registrations`.

use std::path::PathBuf;
use std::sync::Arc;

use jsonwebtoken::EncodingKey;
use url::Url;

use super::key::{Form, section, words};
use super::provider::{Provider, Scopes};
use super::source::ClientSecret;
use super::value::{Day, Program, Scope, https};
use crate::secret::Secret;
use crate::wire::Protocol;

section! {
    /// One OAuth client at a provider, from `registrations.NAME`. Tenant and client id are empty where
    /// there is none.
    pub struct Registration from RegistrationKeys {
        /// Name of a preset, such as `microsoft365`, or of a provider under `providers`
        pub provider: Arc<Provider> as String => "microsoft365, or the name of one of your providers",
        /// Domain or id of the tenant; required for Entra's grants without a person
        pub tenant: String: "`$AZURE_TENANT_ID` with `federated`",
        /// Application (client) id; with `managed_identity` the id of one of several identities
        pub client_id: String: "`$AZURE_CLIENT_ID` with `federated`",
        /// OAuth grant; see [Ways to a token](#ways-to-a-token)
        pub grant: Grant as GrantName => "client_credentials, authorization_code, device_code, password, service_account, managed_identity or command",
    }
    keys {
        /// The value of the client secret. `{client: password}` (with `client_credentials` only): the password that the application presents is the client secret; the identity provider checks it, as with the grant `password`
        client_secret: ClientSecret: "one of `client_secret`, `certificate` and `federated`, or none for a public client",
        /// Day on which the client secret expires, as in `2027-05-01`: for the metric, and for warnings from 14 days before. A certificate's expiry is read from the certificate
        client_secret_expires: Day: "unknown",
        /// Certificate that signs client assertions (RFC 7523 §2.2)
        certificate: CertificateKeys,
        /// Client assertion of the workload, in a file that is read for each request
        federated: FederatedKeys,
        /// Grant `service_account`: Google's JSON key
        key: Secret,
        /// Grant `command`: program that prints a token, or the JSON of a token endpoint's answer
        command: Program,
        /// Grant `managed_identity`: URL of the metadata service
        url: Url[METADATA_URL] = "http://169.254.169.254/metadata/identity/oauth2/token": "Azure's",
    }
    {
        /// Scopes that are requested; required for a provider that is no preset
        pub scope: Option<Vec<String>> as Vec<Scope>: "by provider, grant and the account's protocols",
    }
    with {
        /// Name of the registration, its key under `registrations`.
        pub name: String,
        /// Token endpoint with the tenant filled in: https, or http to loopback.
        pub token_url: Url as given,
        /// Authorization endpoint with the tenant filled in; present for [`Grant::AuthorizationCode`].
        pub authorize_url: Option<Url>,
        /// Device authorization endpoint with the tenant filled in; present for [`Grant::DeviceCode`].
        pub device_url: Option<Url>,
        /// Expiry of the client secret or certificate, in seconds since 1970, if known.
        pub credential_expires: Option<i64>,
    }
}

words! {
    /// Word for each [`Grant`].
    pub(super) enum GrantName {
        ClientCredentials = "client_credentials",
        AuthorizationCode = "authorization_code",
        DeviceCode = "device_code",
        Password = "password",
        ServiceAccount = "service_account",
        ManagedIdentity = "managed_identity",
        Command = "command",
    }
}

section! {
    /// `registrations.NAME.certificate`.
    pub(super) struct CertificateKeys {
        /// Certificate in PEM, as uploaded to the application
        pub(super) certificate: PathBuf => "the path of the certificate in PEM",
        /// RSA private key of the certificate, in PEM
        pub(super) key: PathBuf => "the path of its private key in PEM",
        /// Passphrase, if the key is encrypted
        pub(super) passphrase: Option<Secret>,
    }
}

section! {
    /// `registrations.NAME.federated`.
    pub(super) struct FederatedKeys {
        /// File with the workload's identity token
        pub(super) file: Option<PathBuf>: "`$AZURE_FEDERATED_TOKEN_FILE`",
    }
}

/// URL of Azure's instance metadata service: link-local without TLS, or that of a substitute.
const METADATA_URL: Form<Url> = Form {
    kind: "text",
    parse: |text| match Url::parse(text) {
        Ok(url) if text.starts_with("http://169.254.169.254/") => Ok(url),
        _ => Ok(https(text, "")?),
    },
};

/// Grant from `registrations.*.grant`, with its settings.
#[derive(Debug, Clone)]
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
        url: Url,
    },
    /// A command that prints a token.
    Command(Program),
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
            Self::Command(_) => "command",
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

    /// Scopes to request if the registration sets none; `protocols` are those of the account.
    pub(super) fn default_scope(&self, scopes: &Scopes, protocols: &[Protocol]) -> Vec<String> {
        let mut delegated: Vec<String> = Vec::new();
        for protocol in Protocol::ALL {
            for scope in scopes.delegated.of(protocol) {
                if protocols.contains(&protocol) && !delegated.contains(scope) {
                    delegated.push(scope.clone());
                }
            }
        }
        match self {
            Self::ClientCredentials(_) | Self::ManagedIdentity { .. } | Self::Command(_) => {
                scopes.application.clone()
            }
            Self::ServiceAccount(_) => delegated,
            Self::AuthorizationCode(_) | Self::DeviceCode(_) | Self::Password(_) => {
                [delegated, scopes.offline.clone()].concat()
            }
        }
    }

    /// Client authentication, if the grant uses one.
    pub fn credential(&self) -> Option<&ClientCredential> {
        match self {
            Self::ClientCredentials(credential) => Some(credential),
            Self::AuthorizationCode(credential)
            | Self::DeviceCode(credential)
            | Self::Password(credential) => credential.as_ref(),
            Self::ServiceAccount(_) | Self::ManagedIdentity { .. } | Self::Command(_) => None,
        }
    }
}

/// Client authentication at the token endpoint.
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
pub struct ServiceAccount {
    /// Name of the account, from `client_email`.
    pub email: String,
    /// Id of the key, from `private_key_id`.
    pub key_id: String,
    /// Private key that signs assertions, from `private_key`.
    pub key: EncodingKey,
}
