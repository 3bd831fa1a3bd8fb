//! How tokens are asked for: one function a grant.
//!
//! [`consent`] is where a person agrees; what that leaves behind (a refresh token) is used by
//! [`refresh`]. All others ask anew each time.

mod assertion;
pub(super) mod consent;
mod local;
mod refresh;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use oauth2::{
    AuthType, ClientId, ClientSecret, EndpointNotSet, EndpointSet, ResourceOwnerPassword,
    ResourceOwnerUsername, Scope, TokenUrl,
};

use super::endpoint::{self, Answer, Endpoint};
use super::store::Store;
use super::{Failure, Grant};
use crate::config::{Account, ClientCredential, Grant as Configured, Registration};
use crate::secret::Secret;

/// A request for a token, with all that a grant may want to know.
pub(super) struct Request {
    pub(super) account: Arc<Account>,
    /// Whose mailbox, for grants that ask for one mailbox's token.
    pub(super) mailbox: String,
    /// Under which login a person consented.
    pub(super) login: String,
    /// What the client presented, for the grant `password`.
    pub(super) password: Option<Secret>,
    /// The token that is to be replaced, if one is held.
    pub(super) replaces: Option<Secret>,
    /// A stored token will not do.
    pub(super) anew: bool,
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

    /// Asks.
    pub(super) async fn send(self) -> Result<Grant, Failure> {
        let registration = self.account.registration.clone();
        let Some(client) = self.client.clone() else {
            return Err(endpoint::unusable(
                "there is no HTTP client for the provider",
            ));
        };
        let endpoint = Endpoint::new(client, self.timeout, &registration.provider);
        let scopes = self.account.scope().into_iter().map(Scope::new);
        match &registration.grant {
            Configured::ClientCredentials(_) => {
                let mut client = client_of(&registration);
                if let Some(ClientCredential::ClientPassword) = registration.grant.credential() {
                    let secret = self.password.as_ref().map_or("", Secret::expose);
                    client = client.set_client_secret(ClientSecret::new(secret.to_owned()));
                }
                let mut request = client.exchange_client_credentials().add_scopes(scopes);
                for (name, value) in proof(&registration)? {
                    request = request.add_extra_param(name, value);
                }
                endpoint.outcome(request.request_async(&endpoint).await)
            }
            Configured::Password(_) => {
                let client = client_of(&registration);
                let username = ResourceOwnerUsername::new(self.username().to_owned());
                let password = self.password.as_ref().map_or("", Secret::expose);
                let password = ResourceOwnerPassword::new(password.to_owned());
                let mut request = client
                    .exchange_password(&username, &password)
                    .add_scopes(scopes);
                for (name, value) in proof(&registration)? {
                    request = request.add_extra_param(name, value);
                }
                endpoint.outcome(request.request_async(&endpoint).await)
            }
            Configured::ServiceAccount(key) => {
                let scope: Vec<_> = self.account.scope();
                let assertion = assertion::service_account(
                    key,
                    &self.mailbox,
                    &scope.join(" "),
                    &registration.token_url,
                )?;
                let form = [
                    ("grant_type", assertion::JWT_BEARER),
                    ("assertion", assertion.expose()),
                ];
                endpoint.post(&registration.token_url, &form).await
            }
            Configured::ManagedIdentity { client_id, url } => {
                let scope = self.account.scope();
                let url = local::metadata_url(url, &scope, client_id.as_deref());
                endpoint.get(&url, ("Metadata", "true")).await
            }
            Configured::AuthorizationCode(_) | Configured::DeviceCode(_) => {
                refresh::refresh(&self, &endpoint).await
            }
            Configured::Command { program, arguments } => {
                local::command(program, arguments, self.timeout).await
            }
        }
    }
}

/// The `oauth2` crate's client of a registration, authenticated in the body as Entra's
/// documentation has it.
fn client_of(
    registration: &Registration,
) -> endpoint::Client<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet> {
    let client = oauth2::Client::new(ClientId::new(registration.client_id.clone()))
        .set_auth_type(AuthType::RequestBody)
        .set_token_uri(TokenUrl::from_url(registration.token_url.clone()));
    match registration.grant.credential() {
        Some(ClientCredential::Secret(secret)) => {
            client.set_client_secret(ClientSecret::new(secret.expose().to_owned()))
        }
        _ => client,
    }
}

/// What a client without a secret proves itself with (RFC 7523 §2.2).
fn proof(registration: &Registration) -> Result<Vec<(&'static str, Cow<'static, str>)>, Failure> {
    let assertion = match registration.grant.credential() {
        Some(ClientCredential::Certificate(key)) => {
            assertion::client(key, &registration.client_id, &registration.token_url)?
        }
        Some(ClientCredential::Federated(path)) => local::federated(path)?,
        Some(ClientCredential::Secret(_) | ClientCredential::ClientPassword) | None => {
            return Ok(Vec::new());
        }
    };
    Ok(vec![
        ("client_assertion_type", assertion::CLIENT_ASSERTION.into()),
        ("client_assertion", assertion.expose().to_owned().into()),
    ])
}

/// The refresh token of an answer, if there is one.
fn refresh_token(answer: &Answer) -> Option<Secret> {
    use oauth2::TokenResponse as _;
    answer
        .refresh_token()
        .map(|token| Secret::from(token.secret().as_str()))
}
