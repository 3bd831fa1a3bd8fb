//! `registrations.*.grant` and what each grant needs.

use std::path::PathBuf;

use jsonwebtoken::EncodingKey;
use serde::Deserialize;

use super::super::field::{Field, Section, either};
use super::super::{ClientCredential, Grant, Secrets, ServiceAccount};
use super::Reader;
use super::providers::metadata_url;
use crate::secret::Secret;

const GRANTS: [&str; 7] = [
    "client_credentials",
    "authorization_code",
    "device_code",
    "password",
    "service_account",
    "managed_identity",
    "command",
];

/// Keys that belong to one grant or another.
const KEYS: [&str; 6] = [
    "client_secret",
    "certificate",
    "federated",
    "key",
    "command",
    "url",
];

impl Reader<'_> {
    /// What the environment of a workload identity says (Azure's SDKs read the same); something,
    /// where sources are not read.
    pub(super) fn workload_identity(&self, name: &str) -> Option<String> {
        match self.sources.secrets() {
            Secrets::Read => std::env::var(name).ok().filter(|value| !value.is_empty()),
            Secrets::Skip => Some("not-read".into()),
        }
    }

    /// The grant; keys of other grants are contradictions.
    pub(super) fn grant(&self, section: &mut Section<'_>) -> Option<Grant> {
        let field = section.require("grant", either(&GRANTS));
        let keys = KEYS.map(|key| section.take(key));
        let [secret, certificate, federated, key, command, url] = &keys;
        let field = field?;
        let name = field.word()?;
        if !GRANTS.contains(&name) {
            return field.wrong(format_args!("must be {}", either(&GRANTS)));
        }
        let takes: &[&str] = match name {
            "service_account" => &["key"],
            "managed_identity" => &["url"],
            "command" => &["command"],
            _ => &["client_secret", "certificate", "federated"],
        };
        for (name_of_key, given) in KEYS.iter().zip(&keys) {
            if let Some(given) = given
                && !takes.contains(name_of_key)
            {
                given.problem(format_args!("has no use with the grant {name}; remove it"));
            }
        }
        let mut needs = |key, what| -> Option<Field<'_>> { section.require(key, what) };
        match name {
            "service_account" => {
                let key = match key {
                    Some(key) => key.clone(),
                    None => needs("key", "{file: PATH} of the JSON key that Google made")?,
                };
                self.service_account(&key).map(Grant::ServiceAccount)
            }
            "managed_identity" => {
                let client_id = section.take("client_id");
                let client_id = match client_id {
                    Some(field) => Some(field.word()?.to_owned()),
                    None => None,
                };
                let url = metadata_url(url.as_ref())?;
                Some(Grant::ManagedIdentity { client_id, url })
            }
            "command" => {
                let command = match command {
                    Some(command) => command.clone(),
                    None => needs("command", "[PROGRAM, ARG…], which prints a token")?,
                };
                let words: Option<Vec<_>> = command.list().iter().map(Field::text).collect();
                let words = words?;
                match words.split_first() {
                    Some((program, arguments)) => Some(Grant::Command {
                        program: self.sources.program(program),
                        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
                    }),
                    None => command.wrong("must name a program and its arguments"),
                }
            }
            _ => {
                let credential = match (secret, certificate, federated) {
                    (None, None, None) => None,
                    (Some(secret), None, None) if secret.has_key("client") => {
                        Some(client_password(secret, name)?)
                    }
                    (Some(secret), None, None) => {
                        Some(ClientCredential::Secret(self.sources.secret(secret)?))
                    }
                    (None, Some(certificate), None) => Some(ClientCredential::Certificate(
                        self.sources.signing_key(certificate)?,
                    )),
                    (None, None, Some(federated)) => {
                        Some(ClientCredential::Federated(self.federated(federated)?))
                    }
                    _ => {
                        return field
                            .wrong("has more than one of client_secret, certificate and federated; keep one");
                    }
                };
                match (name, credential) {
                    ("client_credentials", Some(credential)) => {
                        Some(Grant::ClientCredentials(credential))
                    }
                    ("client_credentials", None) => needs(
                        "client_secret",
                        "the secret's value, {env: NAME} or {file: PATH}; or certificate, or federated",
                    )
                    .and(None),
                    ("authorization_code", credential) => Some(Grant::AuthorizationCode(credential)),
                    ("device_code", credential) => Some(Grant::DeviceCode(credential)),
                    (_, credential) => Some(Grant::Password(credential)),
                }
            }
        }
    }

    /// `{file: PATH}`, or the file that AZURE_FEDERATED_TOKEN_FILE names.
    fn federated(&self, field: &Field<'_>) -> Option<PathBuf> {
        let mut section = field.section()?;
        let file = section.take("file");
        section.finish();
        let path = match &file {
            Some(file) => self.sources.path(file)?,
            None => match self.workload_identity("AZURE_FEDERATED_TOKEN_FILE") {
                Some(path) => PathBuf::from(path),
                None => {
                    return field.wrong(
                        "has no file, and AZURE_FEDERATED_TOKEN_FILE is not set; write {file: PATH}",
                    );
                }
            },
        };
        if self.sources.secrets() == Secrets::Read
            && let Err(error) = std::fs::metadata(&path)
        {
            let field = file.as_ref().unwrap_or(field);
            return field.wrong(format_args!("cannot read {}: {error}", path.display()));
        }
        Some(path)
    }

    fn service_account(&self, field: &Field<'_>) -> Option<ServiceAccount> {
        #[derive(Deserialize)]
        struct Json {
            client_email: String,
            private_key_id: String,
            private_key: Secret,
        }
        let json = self.sources.secret(field)?;
        if json.is_empty() {
            return Some(ServiceAccount {
                email: String::new(),
                key_id: String::new(),
                key: EncodingKey::from_rsa_der(&[]),
            });
        }
        let Ok(json) = serde_json::from_str::<Json>(json.expose()) else {
            return field.wrong(
                "is no JSON key of a service account: it wants client_email, private_key_id and private_key",
            );
        };
        match EncodingKey::from_rsa_pem(json.private_key.expose().as_bytes()) {
            Ok(key) => Some(ServiceAccount {
                email: json.client_email,
                key_id: json.private_key_id,
                key,
            }),
            Err(_) => field.wrong("its private_key is no RSA key in PEM"),
        }
    }
}

/// `{client: password}`: what the client presents is the secret.
fn client_password(field: &Field<'_>, grant: &str) -> Option<ClientCredential> {
    let mut section = field.section()?;
    let what = section.take("client");
    section.finish();
    what?.one_of(&[("password", ())])?;
    match grant {
        "client_credentials" => Some(ClientCredential::ClientPassword),
        _ => field.wrong(format_args!(
            "takes {{client: password}} with the grant client_credentials only, not with {grant}"
        )),
    }
}
