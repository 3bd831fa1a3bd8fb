//! How tokens are asked for: one function a grant.
//!
//! [`consent`] is where a person agrees; what that leaves behind (a refresh token) is used by
//! [`refresh`]. All others ask anew each time.

mod assertion;
pub(super) mod consent;
pub(super) mod device;
mod local;
mod refresh;

use std::sync::Arc;
use std::time::Duration;

use super::answer::AccessTokenResponse;
use super::endpoint::Endpoint;
use super::store::{Store, StoredConsent};
use super::{IssuedToken, TokenError};
use crate::cluster::number::Number;
use crate::config::{Account, ClientCredential, Grant as Configured, Registration};
use crate::secret::Secret;

/// A request for a token, with all that a grant may need.
pub(super) struct Request {
    pub(super) account: Arc<Account>,
    /// Whose mailbox, for grants that ask for one mailbox's token.
    pub(super) mailbox: String,
    /// Under which login a person consented.
    pub(super) login: String,
    /// What the client presented, where the identity provider checks it.
    pub(super) password: Option<Secret>,
    /// The token that is to be replaced, if one is held.
    pub(super) replaces: Option<Secret>,
    /// A stored token will not do.
    pub(super) anew: bool,
    /// When this was asked for, in seconds since 1970.
    pub(super) since: u64,
    pub(super) client: Option<crate::outbound::http::Client>,
    pub(super) store: Option<Arc<Store>>,
    pub(super) timeout: Duration,
}

impl Request {
    /// Whose password it is: the login's, where that can be a user's name at the provider (the
    /// mailbox may be a shared one).
    fn username(&self) -> &str {
        match self.login.contains('@') {
            true => &self.login,
            false => &self.mailbox,
        }
    }

    /// A login's consent, if it can bring a token.
    pub(super) async fn usable(&self) -> Result<StoredConsent, TokenError> {
        refresh::usable(self).await
    }

    /// Asks, where a stored token will not do.
    pub(super) async fn send(self) -> Result<IssuedToken, TokenError> {
        self.ask(refresh::Redeems::Any).await
    }

    /// Asks the identity provider on behalf of all relays, for the consent's record of this number
    /// alone. A refusal is not written here: whether it counts is decided with the others.
    pub(super) async fn ask_provider(
        &self,
        number: Option<Number>,
    ) -> Result<IssuedToken, TokenError> {
        self.ask(refresh::Redeems::Only(number.unwrap_or_default()))
            .await
    }

    async fn ask(&self, redeems: refresh::Redeems) -> Result<IssuedToken, TokenError> {
        let registration = self.account.registration.clone();
        let Some(client) = self.client.clone() else {
            return Err(TokenError::later(
                "there is no HTTP client for the provider",
            ));
        };
        let endpoint = Endpoint::new(client, self.timeout, &registration.provider);
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
                let form = form(&[
                    ("grant_type", "password"),
                    ("username", self.username()),
                    ("password", password),
                ])?;
                endpoint.token(&registration, &form.pairs()).await
            }
            Configured::ServiceAccount(key) => {
                let assertion = assertion::service_account(
                    key,
                    &self.mailbox,
                    &scope,
                    &registration.token_url,
                )?;
                let form = [
                    ("grant_type", assertion::JWT_BEARER),
                    ("assertion", assertion.expose()),
                ];
                endpoint.token(&registration, &form).await
            }
            Configured::ManagedIdentity { client_id, url } => {
                let scope = self.account.scope();
                let url = local::metadata_url(url, &scope, client_id.as_deref());
                endpoint
                    .get(&registration, &url, ("Metadata", "true"))
                    .await
            }
            Configured::AuthorizationCode(_) | Configured::DeviceCode(_) => {
                return refresh::refresh(self, &endpoint, redeems).await;
            }
            Configured::Command { program, arguments } => {
                return local::command(program, arguments, self.timeout).await;
            }
        };
        answer
            .as_ref()
            .map(AccessTokenResponse::grant)
            .map_err(TokenError::clone)
    }
}

/// A form in the body of a request, with the client's proof of itself in it, as Entra's
/// documentation has it.
struct Form(Vec<(&'static str, Secret)>);

impl Form {
    /// The client's id and proof. `presented` is the client's own password, which is the client
    /// secret where the registration says so.
    fn of_client(
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
                assertion::client(key, &registration.client_id, &registration.token_url)?
            }
            Some(ClientCredential::Federated(path)) => local::federated(path)?,
            None => return Ok(form),
        };
        // RFC 7523 §2.2.
        form.add("client_assertion_type", assertion::CLIENT_ASSERTION);
        form.0.push(("client_assertion", assertion));
        Ok(form)
    }

    fn add(&mut self, name: &'static str, value: &str) {
        self.0.push((name, Secret::from(value)));
    }

    fn extend(&mut self, pairs: &[(&'static str, &str)]) {
        pairs.iter().for_each(|(name, value)| self.add(name, value));
    }

    fn pairs(&self) -> Vec<(&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (*name, value.expose()))
            .collect()
    }
}
