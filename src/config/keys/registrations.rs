//! `registrations.NAME`.

use std::path::PathBuf;

use super::super::key::{Key, section, words};
use crate::config::source::ClientSecret;
use crate::config::value::{Day, Program, Scope};
use crate::secret::Secret;

section! {
    /// `registrations.NAME`.
    pub(in crate::config) struct RegistrationKeys {
        /// Name of a preset, such as `microsoft365`, or of a provider under `providers`
        pub(in crate::config) provider: Key<String> => "microsoft365, or the name of one of your providers",
        /// Domain or id of the tenant; required for Entra's grants without a person
        pub(in crate::config) tenant: Key<String>: "`$AZURE_TENANT_ID` with `federated`",
        /// Application (client) id; with `managed_identity` the id of one of several identities
        pub(in crate::config) client_id: Key<String>: "`$AZURE_CLIENT_ID` with `federated`",
        /// OAuth grant; see [Ways to a token](#ways-to-a-token)
        pub(in crate::config) grant: Key<GrantName> => "client_credentials, authorization_code, device_code, password, service_account, managed_identity or command",
        /// The value of the client secret. `{client: password}` (with `client_credentials` only): the password that the application presents is the client secret; the identity provider checks it, as with the grant `password`
        pub(in crate::config) client_secret: Key<ClientSecret>: "one of `client_secret`, `certificate` and `federated`, or none for a public client",
        /// Day on which the client secret expires, as in `2027-05-01`: for the metric, and for warnings from 14 days before. A certificate's expiry is read from the certificate
        pub(in crate::config) client_secret_expires: Key<Day>: "unknown",
        /// Certificate that signs client assertions (RFC 7523 §2.2)
        pub(in crate::config) certificate: Key<CertificateKeys>,
        /// Client assertion of the workload, in a file that is read for each request
        pub(in crate::config) federated: Key<FederatedKeys>,
        /// Grant `service_account`: Google's JSON key
        pub(in crate::config) key: Key<Secret>,
        /// Grant `command`: program that prints a token, or the JSON of a token endpoint's answer
        pub(in crate::config) command: Key<Program>,
        /// Grant `managed_identity`: URL of the metadata service
        pub(in crate::config) url: Key<String>: "Azure's",
        /// Scopes that are requested; required for a provider that is no preset
        pub(in crate::config) scope: Key<Vec<Scope>>: "by provider, grant and the account's protocols",
    }
}

words! {
    /// Grant of a registration, from `registrations.*.grant`.
    pub(in crate::config) enum GrantName {
        /// Client credentials (RFC 6749 §4.4).
        ClientCredentials = "client_credentials",
        /// Authorization code (RFC 6749 §4.1).
        AuthorizationCode = "authorization_code",
        /// Device code (RFC 8628).
        DeviceCode = "device_code",
        /// Resource owner's password (RFC 6749 §4.3).
        Password = "password",
        /// JWT bearer (RFC 7523 §2.1).
        ServiceAccount = "service_account",
        /// Azure's metadata service.
        ManagedIdentity = "managed_identity",
        /// A program.
        Command = "command",
    }
}

section! {
    /// `registrations.NAME.certificate`.
    pub(in crate::config) struct CertificateKeys {
        /// Certificate in PEM, as uploaded to the application
        pub(in crate::config) certificate: PathBuf => "the path of the certificate in PEM",
        /// RSA private key of the certificate, in PEM
        pub(in crate::config) key: PathBuf => "the path of its private key in PEM",
        /// Passphrase, if the key is encrypted
        pub(in crate::config) passphrase: Option<Secret>,
    }
}

section! {
    /// `registrations.NAME.federated`.
    pub(in crate::config) struct FederatedKeys {
        /// File with the workload's identity token
        pub(in crate::config) file: Option<PathBuf>: "`$AZURE_FEDERATED_TOKEN_FILE`",
    }
}
