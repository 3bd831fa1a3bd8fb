//! Reads `registrations.*.grant` and the keys of each grant.

use std::path::PathBuf;

use jsonwebtoken::EncodingKey;
use serde::Deserialize;

use super::field::Field;
use super::registration::{
    ClientCredential, FederatedKeys, Grant, GrantName, RegistrationKeys, ServiceAccount,
};
use super::source::ClientSecret;
use crate::secret::Secret;

/// Keys that authenticate the client.
const CREDENTIALS: [&str; 3] = ["client_secret", "certificate", "federated"];

/// Reads a variable of a workload identity's environment, as Azure's SDKs do. Returns a placeholder
/// if sources are not read.
pub(super) fn workload_identity(field: &Field, name: &str) -> Option<String> {
    match field.sources().are_read() {
        true => std::env::var(name).ok().filter(|value| !value.is_empty()),
        false => Some("not-read".into()),
    }
}

/// Reads the grant of a registration; keys of other grants are contradictions.
pub(super) fn grant(field: &Field, keys: &RegistrationKeys) -> Option<Grant> {
    let name = *keys.grant.given()?;
    let takes: &[&str] = match name {
        GrantName::ServiceAccount => &["key"],
        GrantName::ManagedIdentity => &["url"],
        GrantName::Command => &["command"],
        GrantName::ClientCredentials
        | GrantName::AuthorizationCode
        | GrantName::DeviceCode
        | GrantName::Password => &CREDENTIALS,
    };
    for key in CREDENTIALS.iter().chain(&["key", "command", "url"]) {
        if !takes.contains(key) {
            let what = format_args!("has no effect with the grant {}; remove it", name.name());
            field.reject_key(key, what);
        }
    }
    let credential = || credential(field, keys, name);
    match name {
        GrantName::ClientCredentials => credential()?.map(Grant::ClientCredentials),
        GrantName::AuthorizationCode => credential().map(Grant::AuthorizationCode),
        GrantName::DeviceCode => credential().map(Grant::DeviceCode),
        GrantName::Password => credential().map(Grant::Password),
        GrantName::ServiceAccount => {
            let what = "{file: PATH} of the JSON key that Google made";
            let json = keys.key.clone().needed(field, "key", what)?;
            service_account(&field.at("key"), &json).map(Grant::ServiceAccount)
        }
        GrantName::ManagedIdentity => {
            let url = keys.url.clone().required()?;
            let client_id = keys.client_id.clone().optional()?;
            Some(Grant::ManagedIdentity { client_id, url })
        }
        GrantName::Command => {
            let what = "[PROGRAM, ARG…], which prints a token";
            let command = keys.command.clone().needed(field, "command", what)?;
            Some(Grant::Command(command))
        }
    }
}

/// Reads the client authentication. `Some(None)` if there is none.
fn credential(
    field: &Field,
    keys: &RegistrationKeys,
    grant: GrantName,
) -> Option<Option<ClientCredential>> {
    let credential = match CREDENTIALS.map(|key| field.has_key(key)) {
        [false, false, false] if grant == GrantName::ClientCredentials => {
            field.missing(
                "client_secret",
                "the secret's value, {env: NAME} or {file: PATH}; or certificate, or federated",
            );
            return None;
        }
        [false, false, false] => return Some(None),
        [true, false, false] => match keys.client_secret.given()? {
            ClientSecret::Given(secret) => ClientCredential::Secret(secret.clone()),
            ClientSecret::ClientPassword if grant == GrantName::ClientCredentials => {
                ClientCredential::ClientPassword
            }
            ClientSecret::ClientPassword => {
                return field
                    .at("client_secret")
                    .reject("may be {client: password} only with the grant client_credentials");
            }
        },
        [false, true, false] => {
            let certificate = keys.certificate.given()?.clone();
            ClientCredential::Certificate(certificate.build(&field.at("certificate"))?)
        }
        [false, false, true] => {
            let federated = keys.federated.given()?.clone();
            ClientCredential::Federated(federated.path(&field.at("federated"))?)
        }
        _ => {
            return field
                .at("grant")
                .reject("has more than one of client_secret, certificate and federated; keep one");
        }
    };
    Some(Some(credential))
}

impl FederatedKeys {
    /// Returns the path from `{file: PATH}`, or from AZURE_FEDERATED_TOKEN_FILE.
    fn path(self, field: &Field) -> Option<PathBuf> {
        let given = || workload_identity(field, "AZURE_FEDERATED_TOKEN_FILE").map(PathBuf::from);
        let path =
            field.accept(self.file.or_else(given).ok_or(
                "has no file, and AZURE_FEDERATED_TOKEN_FILE is not set; write {file: PATH}",
            ))?;
        if field.sources().are_read() {
            let metadata = std::fs::metadata(&path);
            let failed = |error| format!("cannot read {}: {error}", path.display());
            field.at("file").accept(metadata.map_err(failed))?;
        }
        Some(path)
    }
}

/// Reads Google's JSON key. The key is empty if sources are not read.
fn service_account(field: &Field, json: &Secret) -> Option<ServiceAccount> {
    #[derive(Deserialize)]
    struct Json {
        client_email: String,
        private_key_id: String,
        private_key: Secret,
    }
    if json.is_empty() {
        return Some(ServiceAccount {
            email: String::new(),
            key_id: String::new(),
            key: EncodingKey::from_rsa_der(&[]),
        });
    }
    let json = serde_json::from_str::<Json>(json.expose()).map_err(|_| {
        "is not a JSON key of a service account, which has client_email, private_key_id and private_key"
    });
    let json = field.accept(json)?;
    let key = EncodingKey::from_rsa_pem(json.private_key.expose().as_bytes());
    Some(ServiceAccount {
        email: json.client_email,
        key_id: json.private_key_id,
        key: field.accept(key.map_err(|_| "its private_key is not an RSA key in PEM"))?,
    })
}
