//! Reads `registrations.*.grant` and the keys of each grant.

use std::path::PathBuf;

use jsonwebtoken::EncodingKey;
use serde::Deserialize;

use super::super::field::Field;
use super::super::key::Key;
use super::super::keys::{FederatedKeys, GrantName, RegistrationKeys};
use super::super::pem;
use super::super::registration::{ClientCredential, Grant, ServiceAccount};
use super::super::secrets::Secrets;
use super::super::source::ClientSecret;
use super::providers::metadata_url;
use crate::secret::Secret;

/// Keys that belong to particular grants.
const KEYS: [&str; 6] = [
    "client_secret",
    "certificate",
    "federated",
    "key",
    "command",
    "url",
];

/// Reads a variable of a workload identity's environment, as Azure's SDKs do. Returns a placeholder
/// if sources are not read.
pub(super) fn workload_identity(field: &Field, name: &str) -> Option<String> {
    match field.sources().secrets {
        Secrets::Read => std::env::var(name).ok().filter(|value| !value.is_empty()),
        Secrets::Skip => Some("not-read".into()),
    }
}

/// Reads the grant of a registration; keys of other grants are contradictions.
pub(super) fn grant(field: &Field, keys: &RegistrationKeys) -> Option<Grant> {
    let name = *keys.grant.given()?;
    let written = field.at("grant");
    let written = written.text().unwrap_or_default();
    let takes: &[&str] = match name {
        GrantName::ServiceAccount => &["key"],
        GrantName::ManagedIdentity => &["url"],
        GrantName::Command => &["command"],
        GrantName::ClientCredentials
        | GrantName::AuthorizationCode
        | GrantName::DeviceCode
        | GrantName::Password => &["client_secret", "certificate", "federated"],
    };
    for key in KEYS.iter().filter(|key| !takes.contains(key)) {
        if field.has_key(key) {
            let what = format_args!("has no use with the grant {written}; remove it");
            field.at(key).problem(what);
        }
    }
    let credential = || credential(field, keys, name);
    match name {
        GrantName::ClientCredentials => credential()?.map(Grant::ClientCredentials),
        GrantName::AuthorizationCode => credential().map(Grant::AuthorizationCode),
        GrantName::DeviceCode => credential().map(Grant::DeviceCode),
        GrantName::Password => credential().map(Grant::Password),
        GrantName::ServiceAccount => needs(
            field,
            &keys.key,
            "key",
            "{file: PATH} of the JSON key that Google made",
        )
        .and_then(|json| service_account(&field.at("key"), json))
        .map(Grant::ServiceAccount),
        GrantName::ManagedIdentity => {
            let url = keys.url.clone().optional()?;
            Some(Grant::ManagedIdentity {
                client_id: keys.client_id.clone().optional()?,
                url: metadata_url(&field.at("url"), url.as_deref())?,
            })
        }
        GrantName::Command => {
            let what = "[PROGRAM, ARG…], which prints a token";
            let command = needs(field, &keys.command, "command", what)?;
            Some(Grant::Command {
                program: command.program.clone(),
                arguments: command.arguments.clone(),
            })
        }
    }
}

/// Returns a key that a grant requires, and reports its absence.
fn needs<'k, T>(field: &Field, key: &'k Key<T>, name: &str, what: &str) -> Option<&'k T> {
    if key.is_absent() {
        field.missing(name, what);
    }
    key.given()
}

/// Reads the client authentication. `Some(None)` if there is none.
fn credential(
    field: &Field,
    keys: &RegistrationKeys,
    grant: GrantName,
) -> Option<Option<ClientCredential>> {
    let given = ["client_secret", "certificate", "federated"].map(|key| field.has_key(key));
    match given {
        [false, false, false] if grant == GrantName::ClientCredentials => {
            field.missing(
                "client_secret",
                "the secret's value, {env: NAME} or {file: PATH}; or certificate, or federated",
            );
            None
        }
        [false, false, false] => Some(None),
        [true, false, false] => match keys.client_secret.given()? {
            ClientSecret::Given(secret) => Some(Some(ClientCredential::Secret(secret.clone()))),
            ClientSecret::ClientPassword if grant == GrantName::ClientCredentials => {
                Some(Some(ClientCredential::ClientPassword))
            }
            ClientSecret::ClientPassword => field
                .at("client_secret")
                .reject("takes {client: password} with the grant client_credentials only"),
        },
        [false, true, false] => {
            let certificate = keys.certificate.given()?.clone();
            let key = pem::signing_key(&field.at("certificate"), certificate)?;
            Some(Some(ClientCredential::Certificate(key)))
        }
        [false, false, true] => {
            let path = federated(&field.at("federated"), keys.federated.given()?)?;
            Some(Some(ClientCredential::Federated(path)))
        }
        _ => field
            .at("grant")
            .reject("has more than one of client_secret, certificate and federated; keep one"),
    }
}

/// Returns the path from `{file: PATH}`, or from AZURE_FEDERATED_TOKEN_FILE.
fn federated(field: &Field, keys: &FederatedKeys) -> Option<PathBuf> {
    let path = match &keys.file {
        Some(path) => path.clone(),
        None => match workload_identity(field, "AZURE_FEDERATED_TOKEN_FILE") {
            Some(path) => PathBuf::from(path),
            None => {
                return field.reject(
                    "has no file, and AZURE_FEDERATED_TOKEN_FILE is not set; write {file: PATH}",
                );
            }
        },
    };
    if field.sources().are_read()
        && let Err(error) = std::fs::metadata(&path)
    {
        let message = format_args!("cannot read {}: {error}", path.display());
        return field.at("file").reject(message);
    }
    Some(path)
}

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
    let Ok(json) = serde_json::from_str::<Json>(json.expose()) else {
        return field.reject(
            "is no JSON key of a service account: that has client_email, private_key_id and private_key",
        );
    };
    match EncodingKey::from_rsa_pem(json.private_key.expose().as_bytes()) {
        Ok(key) => Some(ServiceAccount {
            email: json.client_email,
            key_id: json.private_key_id,
            key,
        }),
        Err(_) => field.reject("its private_key is no RSA key in PEM"),
    }
}
