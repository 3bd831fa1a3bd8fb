//! The form of a token request with its client authentication.

use super::super::failure::TokenError;
use crate::config::{ClientCredential, Registration};
use crate::secret::Secret;

/// Form body of a request. It contains the client authentication, as in Entra's documentation.
pub(super) struct Form(pub(super) Vec<(&'static str, Secret)>);

impl Form {
    /// Creates a form with client id and client authentication. `presented` is the mail client's
    /// password, which is the secret with `client_secret: {client: password}`.
    pub(super) fn of_client(
        registration: &Registration,
        presented: Option<&Secret>,
    ) -> Result<Self, TokenError> {
        let mut form = Self(Vec::new());
        form.add("client_id", &registration.client_id);
        let assertion = match registration.grant.credential() {
            Some(ClientCredential::Secret(secret)) => {
                form.0.push(("client_secret", secret.clone()));
                return Ok(form);
            }
            Some(ClientCredential::ClientPassword) => {
                let secret = presented.cloned().unwrap_or_default();
                form.0.push(("client_secret", secret));
                return Ok(form);
            }
            Some(ClientCredential::Certificate(key)) => {
                super::assertion::client(key, &registration.client_id, &registration.token_url)?
            }
            Some(ClientCredential::Federated(path)) => super::local::federated(path)?,
            None => return Ok(form),
        };
        // RFC 7523 §2.2.
        form.add("client_assertion_type", super::assertion::CLIENT_ASSERTION);
        form.0.push(("client_assertion", assertion));
        Ok(form)
    }

    pub(super) fn add(&mut self, name: &'static str, value: &str) {
        self.0.push((name, Secret::from(value)));
    }

    pub(super) fn extend(&mut self, pairs: &[(&'static str, &str)]) {
        pairs.iter().for_each(|(name, value)| self.add(name, value));
    }

    pub(super) fn pairs(&self) -> Vec<(&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (*name, value.expose()))
            .collect()
    }
}
