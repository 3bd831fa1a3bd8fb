//! How tokens are asked for: one function a grant.

use std::sync::Arc;
use std::time::Duration;

use oauth2::{AuthType, ClientId, ClientSecret, Scope, TokenUrl};

use super::endpoint::{self, Endpoint};
use super::{Failure, Grant};
use crate::config::{self, Registration};

/// A request for a token of `registration`, ready to be awaited.
pub(super) async fn request(
    registration: Arc<Registration>,
    client: Option<reqwest::Client>,
    timeout: Duration,
) -> Result<Grant, Failure> {
    let Some(client) = client else {
        return Err(endpoint::unusable(
            "there is no HTTP client for the provider",
        ));
    };
    let endpoint = Endpoint::new(client, timeout);
    match &registration.grant {
        config::Grant::ClientCredentials { client_secret } => {
            let secret = ClientSecret::new(client_secret.expose().to_owned());
            client_credentials(&registration, secret, &endpoint).await
        }
    }
}

/// RFC 6749 §4.4, the client authenticated in the body as Entra's documentation has it.
async fn client_credentials(
    registration: &Registration,
    secret: ClientSecret,
    endpoint: &Endpoint,
) -> Result<Grant, Failure> {
    let client = endpoint::Client::new(ClientId::new(registration.client_id.clone()))
        .set_client_secret(secret)
        .set_auth_type(AuthType::RequestBody)
        .set_token_uri(TokenUrl::from_url(registration.token_url.clone()));
    let scopes = registration.scope.iter().cloned().map(Scope::new);
    let result = client
        .exchange_client_credentials()
        .add_scopes(scopes)
        .request_async(endpoint)
        .await;
    endpoint.outcome(result)
}
