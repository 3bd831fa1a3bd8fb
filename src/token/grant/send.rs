//! Dispatch of token requests by grant.

use super::super::failure::TokenError;
use super::super::issued::IssuedToken;
use super::form::Form;
use super::refresh::{Redeems, refresh};
use super::request::Request;
use crate::config::Grant as Configured;
use crate::secret::Secret;

impl Request {
    /// Sends the request, unless a stored token can be used.
    pub(in crate::token) async fn send(&self, redeems: Redeems) -> Result<IssuedToken, TokenError> {
        let registration = self.account.registration.clone();
        let none = || TokenError::later("there is no HTTP client for the provider");
        let endpoint = self.endpoint.as_ref().ok_or_else(none)?;
        let scope = self.account.scope().join(" ");
        let form = |pairs: &[(&'static str, &str)]| -> Result<Form, TokenError> {
            let mut form = Form::of_client(&registration, self.password.as_ref())?;
            form.extend(pairs);
            form.add("scope", &scope);
            Ok(form)
        };
        let answer = match &registration.grant {
            Configured::ClientCredentials(_) => {
                let form = form(&[("grant_type", "client_credentials")])?;
                endpoint.token(&registration, &form.pairs()).await
            }
            Configured::Password(_) => {
                let password = self.password.as_ref().map_or("", Secret::expose);
                // The mailbox may be a shared one, and the login no user name at the provider.
                let username = match self.login.contains('@') {
                    true => &self.login,
                    false => &self.mailbox,
                };
                let form = form(&[
                    ("grant_type", "password"),
                    ("username", username),
                    ("password", password),
                ])?;
                endpoint.token(&registration, &form.pairs()).await
            }
            Configured::ServiceAccount(key) => {
                let assertion = super::assertion::service_account(
                    key,
                    &self.mailbox,
                    &scope,
                    &registration.token_url,
                )?;
                let form = [
                    ("grant_type", super::assertion::JWT_BEARER),
                    ("assertion", assertion.expose()),
                ];
                endpoint.token(&registration, &form).await
            }
            Configured::ManagedIdentity { client_id, url } => {
                let scope = self.account.scope();
                let url = super::local::metadata_url(url, &scope, client_id.as_deref());
                endpoint
                    .get(&registration, &url, ("Metadata", "true"))
                    .await
            }
            Configured::AuthorizationCode(_) | Configured::DeviceCode(_) => {
                return refresh(self, endpoint, redeems).await;
            }
            Configured::Command(command) => {
                return super::local::command(command, self.timeout).await;
            }
        };
        answer.map(|answer| answer.grant())
    }
}
