//! The token endpoint over HTTP: what it answers, in whatever shape, becomes a grant or a fault.
//!
//! The `oauth2` crate builds requests and reads answers; the connection is ours, because status
//! and Retry-After would be lost otherwise.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use oauth2::basic::{
    BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AccessToken, AsyncHttpClient, ErrorResponse, HttpRequest, HttpResponse, RefreshToken,
    RequestTokenError, Scope, StandardRevocableToken, TokenResponse,
};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Failure, Grant, entra};
use crate::config::Provider;
use crate::fault::{Fault, Kind};
use crate::outbound::http;
use crate::secret::Secret;

/// Octets of an answer that are read.
const ANSWER_CAP: usize = 256 * 1024;

/// Where nothing answers.
const DIRECT: &str =
    "check that this host reaches the token endpoint (DNS, firewall, TLS inspection)";

/// Where nothing answers through a proxy, which does not say in every case what it lacks.
const BY_PROXY: &str = "check the provider's egress (its url, its username and password, what the proxy allows), \
     and that the proxy reaches the token endpoint";

/// Where an answer does not say how long its token lives.
pub(super) const USUAL_LIFETIME: Duration = Duration::from_secs(3600);

/// The `oauth2` crate's client with answers of our own leniency.
pub(super) type Client<Auth, Device, Introspection, Revocation, Token> = oauth2::Client<
    Refusal,
    Answer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    Auth,
    Device,
    Introspection,
    Revocation,
    Token,
>;

/// One token request.
pub(super) struct Endpoint {
    client: http::Client,
    timeout: Duration,
    /// `host:port` of the proxy that leads there.
    egress: Option<String>,
    /// Of the answer, which the `oauth2` crate does not hand on.
    seen: Mutex<Seen>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    status: u16,
    retry_after: Option<Duration>,
}

/// A successful answer (RFC 6749 §5.1) as endpoints really give it.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Answer {
    access_token: AccessToken,
    /// A number, a string with a number (v1 endpoints, IMDS), or missing.
    #[serde(default)]
    expires_in: serde_json::Value,
    #[serde(default)]
    refresh_token: Option<RefreshToken>,
    #[serde(default)]
    id_token: Option<AccessToken>,
    /// Space-separated; some endpoints send a list, or something else.
    #[serde(default)]
    scope: serde_json::Value,
    #[serde(skip, default = "bearer")]
    token_type: BasicTokenType,
}

impl Answer {
    /// The access token.
    pub(super) fn token(&self) -> &str {
        self.access_token.secret()
    }

    /// OpenID Connect's token about the person, if one came.
    pub(super) fn id_token(&self) -> Option<&str> {
        self.id_token.as_ref().map(|token| token.secret().as_str())
    }

    /// What was granted, if the answer says so.
    pub(super) fn granted(&self) -> Vec<String> {
        let text = self.scope.as_str().unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    }
}

impl From<&Answer> for Grant {
    fn from(answer: &Answer) -> Self {
        Self {
            token: Secret::from(answer.token()),
            lifetime: answer.expires_in().unwrap_or(USUAL_LIFETIME),
            stored: false,
        }
    }
}

/// A token endpoint's answer that came by another way.
pub(super) fn grant_of_json(json: &[u8]) -> Option<Grant> {
    let answer: Answer = serde_json::from_slice(json).ok()?;
    (!answer.token().is_empty()).then(|| Grant::from(&answer))
}

fn bearer() -> BasicTokenType {
    BasicTokenType::Bearer
}

impl TokenResponse for Answer {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        let seconds = match &self.expires_in {
            serde_json::Value::Number(number) => number.as_f64(),
            serde_json::Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }?;
        // Zero and less is no lifetime that an issuer could mean.
        (seconds >= 1.0).then(|| Duration::from_secs_f64(seconds.min(1e9)))
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

/// An error answer (RFC 6749 §5.2, with Entra's additions).
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Refusal {
    error: String,
    #[serde(default)]
    error_description: Option<String>,
    #[serde(default)]
    error_codes: Vec<u64>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.error)
    }
}

impl ErrorResponse for Refusal {}

/// A request that brought no answer.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct NoAnswer {
    pub(super) why: String,
    remedy: &'static str,
}

impl Endpoint {
    pub(super) fn new(client: http::Client, timeout: Duration, provider: &Provider) -> Self {
        let egress = provider.egress.as_ref();
        Self {
            client,
            timeout,
            egress: egress.map(|egress| format!("{}:{}", egress.host, egress.port)),
            seen: Mutex::default(),
        }
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, String> {
        let mut response = self
            .client
            .execute(request)
            .await
            .map_err(|error| no_answer(&error))?;
        let seen = Seen {
            status: response.status().as_u16(),
            retry_after: retry_after(response.headers()),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| no_answer(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_CAP {
                return Err("its answer is larger than 256 KiB".into());
            }
        }
        // Headers stay behind: `application/json` is not what every endpoint says of its JSON.
        let mut answer = HttpResponse::new(body);
        *answer.status_mut() = response.status();
        Ok(answer)
    }

    /// The token that came of it.
    pub(super) fn outcome(
        &self,
        result: Result<Answer, RequestTokenError<NoAnswer, Refusal>>,
    ) -> Result<Grant, Failure> {
        self.answer(result).map(|answer| Grant::from(&answer))
    }

    /// The answer that came of it, which holds a token.
    pub(super) fn answer(
        &self,
        result: Result<Answer, RequestTokenError<NoAnswer, Refusal>>,
    ) -> Result<Answer, Failure> {
        let answer = self.details(result)?;
        if answer.token().is_empty() {
            return Err(self.failure(garbage(self.seen().status)));
        }
        Ok(answer)
    }

    /// Whatever came of it.
    pub(super) fn details<T>(
        &self,
        result: Result<T, RequestTokenError<NoAnswer, Refusal>>,
    ) -> Result<T, Failure> {
        let seen = self.seen();
        match result {
            Ok(answer) => Ok(answer),
            Err(RequestTokenError::ServerResponse(refusal)) => {
                let classified = entra::classify(
                    seen.status,
                    &refusal.error,
                    refusal.error_description.as_deref().unwrap_or_default(),
                    &refusal.error_codes,
                );
                Err(Failure {
                    consent_ended: classified.consent_ended,
                    throttled: classified.throttled || seen.status == 429,
                    ..self.failure(classified.fault)
                })
            }
            Err(RequestTokenError::Request(NoAnswer { why, remedy })) => {
                let detail = format!("the token endpoint cannot be used: {why}");
                Err(self.failure(Fault::new(Kind::Unavailable, detail).remedy_is(remedy)))
            }
            // The answer itself may hold a token or a secret: it is not shown.
            Err(RequestTokenError::Parse(..) | RequestTokenError::Other(_)) => {
                Err(self.failure(garbage(seen.status)))
            }
        }
    }

    /// A request that the `oauth2` crate has no name for: a form posted.
    pub(super) async fn post(&self, url: &Url, form: &[(&str, &str)]) -> Result<Grant, Failure> {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = oauth2::http::Request::builder()
            .method("POST")
            .uri(url.as_str())
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .body(body.into_bytes());
        self.send(request).await
    }

    /// Another: a GET with a header.
    pub(super) async fn get(&self, url: &Url, header: (&str, &str)) -> Result<Grant, Failure> {
        let request = oauth2::http::Request::builder()
            .uri(url.as_str())
            .header(header.0, header.1)
            .body(Vec::new());
        self.send(request).await
    }

    async fn send(&self, request: oauth2::http::Result<HttpRequest>) -> Result<Grant, Failure> {
        let request = request.map_err(|_| unusable("the token endpoint's URL cannot be asked"))?;
        let result = match self.call(request).await {
            Ok(response) if response.status().is_success() => {
                match serde_json::from_slice::<Answer>(response.body()) {
                    Ok(answer) => Ok(answer),
                    Err(_) => Err(RequestTokenError::Other(String::new())),
                }
            }
            Ok(response) => match serde_json::from_slice::<Refusal>(response.body()) {
                Ok(refusal) => Err(RequestTokenError::ServerResponse(refusal)),
                Err(_) => Err(RequestTokenError::Other(String::new())),
            },
            Err(error) => Err(RequestTokenError::Request(error)),
        };
        self.outcome(result)
    }

    fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self, fault: Fault) -> Failure {
        Failure {
            retry_after: self.seen().retry_after,
            asked: true,
            throttled: self.seen().status == 429,
            ..Failure::from(fault)
        }
    }
}

/// The `oauth2` crate's way to the network.
impl<'c> AsyncHttpClient<'c> for Endpoint {
    type Error = NoAnswer;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, NoAnswer>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        let by_proxy = request.uri().scheme_str() == Some("https");
        let egress = self.egress.as_ref().filter(|_| by_proxy);
        Box::pin(async move {
            tokio::time::timeout(self.timeout, self.exchange(request))
                .await
                .unwrap_or_else(|_| {
                    let seconds = self.timeout.as_secs_f32();
                    Err(format!("no answer within {seconds} s"))
                })
                .map_err(|why| match egress {
                    Some(egress) => NoAnswer {
                        why: format!("by the egress proxy {egress}: {why}"),
                        remedy: BY_PROXY,
                    },
                    None => NoAnswer {
                        why,
                        remedy: DIRECT,
                    },
                })
        })
    }
}

/// Something is wrong on our side.
pub(super) fn unusable(why: &str) -> Failure {
    Failure::from(Fault::new(Kind::Unavailable, why))
}

fn garbage(status: u16) -> Fault {
    let fault = Fault::new(
        Kind::Unavailable,
        format!("the token endpoint's answer (HTTP {status}) is no OAuth answer"),
    );
    match status {
        429 => fault.remedy_is(super::THROTTLED),
        300..400 => fault.remedy_is("the token endpoint redirects; set the provider's token_url to its final address"),
        500.. => fault.remedy_is("the identity provider has trouble; wait"),
        _ => fault.remedy_is("something other than the token endpoint answers (a captive portal, a proxy?), or token_url is wrong"),
    }
}

/// RFC 9110 §10.2.3, in seconds; a date is left to our own backoff.
fn retry_after(headers: &reqwest::header::HeaderMap) -> Option<Duration> {
    let value = headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

/// Every cause, without the URL: it may bear a tenant's name, and the log has the registration.
fn no_answer(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if text.is_empty() {
        text = "the request failed".into();
    }
    text
}
