//! HTTP access to token endpoints. Responses of any shape become tokens or failures.

use std::time::{Duration, SystemTime};

use ::http::Request;
use ::http::header::{ACCEPT, CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use super::answer::AccessTokenResponse;
use super::failure::{Class, TokenError};
use super::refusal::{self, OAuthError};
use crate::cluster::awake::awake_timeout;
use crate::config::{Provider, Registration};
use crate::environment;
use crate::outbound::http;

/// Largest response, in octets.
const ANSWER_CAP: usize = 256 * 1024;

/// Longest pause that an endpoint may request.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Octets reserved for a response of unknown length.
const ANSWER_USUAL: usize = 16 * 1024;

/// Fields of a form that contain secrets.
const SECRET_FIELDS: [&str; 8] = [
    "client_secret",
    "client_assertion",
    "refresh_token",
    "password",
    "assertion",
    "code",
    "code_verifier",
    "device_code",
];

/// Remedy if a directly connected endpoint does not respond.
const DIRECT: &str =
    "check that this host reaches the token endpoint (DNS, firewall, TLS inspection)";

/// Remedy if nothing responds through a proxy, which does not always say why.
const BY_PROXY: &str = "check the provider's egress (its url, its username and password, what the proxy allows), \
     and that the proxy reaches the token endpoint";

/// Access to a provider's endpoints.
pub(super) struct Endpoint {
    client: http::Client,
    timeout: Duration,
    /// `host:port` of the egress proxy, if any.
    egress: Option<String>,
}

/// JSON of an error response. Values of unexpected type count as absent, except `error`.
#[derive(Debug, Deserialize)]
struct Json {
    error: String,
    #[serde(default)]
    error_description: serde_json::Value,
    #[serde(default)]
    error_codes: serde_json::Value,
    /// Refinement of the error; Google calls it `error_subtype`.
    #[serde(default, alias = "error_subtype")]
    suberror: serde_json::Value,
}

/// HTTP response, read completely.
struct Reply {
    status: u16,
    retry_after: Option<Duration>,
    /// Seconds by which our clock is ahead of the endpoint's.
    skew: Option<i64>,
    body: Zeroizing<Vec<u8>>,
}

impl Endpoint {
    pub(super) fn new(client: http::Client, timeout: Duration, provider: &Provider) -> Self {
        let egress = provider.egress.as_ref();
        Self {
            client,
            timeout,
            egress: egress.map(|egress| format!("{}:{}", egress.host, egress.port)),
        }
    }

    /// Posts a form to the registration's token endpoint and returns its token.
    pub(super) async fn token(
        &self,
        registration: &Registration,
        form: &[(&str, &str)],
    ) -> Result<AccessTokenResponse, TokenError> {
        let read = AccessTokenResponse::from_json;
        let url = &registration.token_url;
        self.post(registration, url, form, read).await
    }

    /// Posts a form and parses a response of any type.
    pub(super) async fn post<T>(
        &self,
        registration: &Registration,
        url: &Url,
        form: &[(&str, &str)],
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T, TokenError> {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = Request::post(url.as_str())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(body.into_bytes());
        self.send(registration, url, request, form, read).await
    }

    /// Requests a token by GET with one header.
    pub(super) async fn get(
        &self,
        registration: &Registration,
        url: &Url,
        header: (&'static str, &'static str),
    ) -> Result<AccessTokenResponse, TokenError> {
        let request = Request::get(url.as_str())
            .header(header.0, header.1)
            .body(Vec::new());
        let read = AccessTokenResponse::from_json;
        self.send(registration, url, request, &[], read).await
    }

    /// Sends a request with this form.
    async fn send<T>(
        &self,
        registration: &Registration,
        url: &Url,
        request: ::http::Result<Request<Vec<u8>>>,
        form: &[(&str, &str)],
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T, TokenError> {
        let request =
            request.map_err(|_| TokenError::later("the token endpoint's URL cannot be asked"))?;
        let exchanged = awake_timeout(self.timeout, exchange(&self.client, request)).await;
        let late = || Err(format!("no answer within {} s", self.timeout.as_secs_f32()));
        let reply = exchanged
            .unwrap_or_else(late)
            .map_err(|why| self.no_answer(registration, url, &why))?;
        let failure = match reply.status {
            200..300 => match read(&reply.body) {
                Some(answer) => return Ok(answer),
                None => malformed(reply.status),
            },
            // A redirect is not an OAuth response.
            400.. => match serde_json::from_slice::<Json>(&reply.body) {
                Ok(json) => json.failure(registration, &reply, &secrets(form)),
                Err(_) => malformed(reply.status),
            },
            _ => malformed(reply.status),
        };
        Err(TokenError {
            retry_after: reply.retry_after,
            ..failure
        })
    }

    fn no_answer(&self, registration: &Registration, url: &Url, why: &str) -> TokenError {
        // URLs other than https are local and need no proxy.
        let egress = self.egress.as_ref().filter(|_| url.scheme() == "https");
        let (why, remedy) = match egress {
            Some(egress) => (format!("by the egress proxy {egress}: {why}"), BY_PROXY),
            None => (why.to_owned(), DIRECT),
        };
        let failure = TokenError::later(format!("the token endpoint cannot be used: {why}"))
            .remedy(remedy)
            .asked();
        TokenError {
            fault: environment::hinted(failure.fault, &registration.provider),
            ..failure
        }
    }
}

impl Json {
    fn failure(&self, registration: &Registration, reply: &Reply, secrets: &[&str]) -> TokenError {
        let codes = match &self.error_codes {
            serde_json::Value::Array(codes) => codes.as_slice(),
            code => std::slice::from_ref(code),
        };
        let codes: Vec<_> = codes.iter().filter_map(code).collect();
        let refusal = OAuthError {
            status: reply.status,
            error: &self.error,
            description: self.error_description.as_str().unwrap_or_default(),
            codes: &codes,
            suberror: self.suberror.as_str().unwrap_or_default(),
            skew: reply.skew,
            secrets,
        };
        refusal::classify(registration, &refusal)
    }
}

/// Values of a form that no error text may repeat.
fn secrets<'a>(form: &[(&str, &'a str)]) -> Vec<&'a str> {
    let secret = form.iter().filter(|(name, _)| SECRET_FIELDS.contains(name));
    secret.map(|(_, value)| *value).collect()
}

/// Reads one of Entra's codes, a number or a text.
fn code(code: &serde_json::Value) -> Option<u64> {
    code.as_u64().or_else(|| code.as_str()?.trim().parse().ok())
}

async fn exchange(client: &http::Client, request: Request<Vec<u8>>) -> Result<Reply, String> {
    let sent = client.execute(request).await;
    let mut response = sent.map_err(|error| no_answer(&error))?;
    let length = response
        .content_length()
        .and_then(|length| usize::try_from(length).ok());
    // A growing buffer would leave parts of secrets in memory.
    let mut body = Zeroizing::new(Vec::with_capacity(
        length.unwrap_or(ANSWER_USUAL).min(ANSWER_CAP),
    ));
    let now = SystemTime::now();
    let retry_after = retry_after(response.headers(), now);
    let skew = skew(response.headers(), now);
    let status = response.status().as_u16();
    while let Some(chunk) = response.chunk().await.map_err(|error| no_answer(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_CAP {
            return Err("its answer is larger than 256 KiB".into());
        }
    }
    Ok(Reply {
        status,
        retry_after,
        skew,
        body,
    })
}

fn malformed(status: u16) -> TokenError {
    let class = Class::Later {
        throttled: status == 429,
    };
    let remedy = match status {
        429 => refusal::THROTTLED,
        300..400 => {
            "the token endpoint redirects; set the provider's token_url to its final address"
        }
        500.. => "the identity provider has a problem; wait",
        _ => {
            "something other than the token endpoint answers (a captive portal, a proxy?), or token_url is wrong"
        }
    };
    let detail = format!("the token endpoint's answer (HTTP {status}) is not an OAuth answer");
    TokenError::new(class, detail).remedy(remedy).asked()
}

/// Parses Retry-After (RFC 9110 §10.2.3): seconds or a date, at most [`LONGEST_RETRY_AFTER`].
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let time = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        // A date is relative to the endpoint's own clock, if it sends one.
        Err(_) => {
            let until = httpdate::parse_http_date(value).ok()?;
            let since = date(headers).unwrap_or(now);
            until.duration_since(since).ok()?
        }
    };
    Some(time.min(LONGEST_RETRY_AFTER))
}

/// Reads the header Date (RFC 9110 §6.6.1).
fn date(headers: &HeaderMap) -> Option<SystemTime> {
    let value = headers.get(DATE)?.to_str().ok()?;
    httpdate::parse_http_date(value.trim()).ok()
}

fn skew(headers: &HeaderMap, now: SystemTime) -> Option<i64> {
    let theirs = date(headers)?;
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Some(match now.duration_since(theirs) {
        Ok(ahead) => seconds(ahead),
        Err(error) => seconds(error.duration()).saturating_neg(),
    })
}

/// Joins all causes of an error. The URL is left out: it may contain a tenant's name, and the log
/// names the registration.
fn no_answer(error: &dyn std::error::Error) -> String {
    let cause = error.source();
    cause.map_or_else(|| "the request failed".to_owned(), http::causes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let of = |value: &str, date: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            retry_after(&headers, now).map(|after| after.as_secs())
        };
        assert_eq!(of("60", None), Some(60));
        assert_eq!(of("Sun, 06 Nov 1994 08:59:37 GMT", None), Some(600));
        // RFC 850 and asctime dates are dates as well.
        assert_eq!(of("Sunday, 06-Nov-94 08:50:37 GMT", None), Some(60));
        assert_eq!(of("Sun Nov  6 08:50:37 1994", None), Some(60));
        assert_eq!(
            of(
                "Sun, 06 Nov 1994 08:59:37 GMT",
                Some("Sun, 06 Nov 1994 08:59:27 GMT")
            ),
            Some(10)
        );
        for endless in ["18446744073709551615", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert_eq!(of(endless, None), Some(3600), "{endless}");
        }
        for value in ["soon", "-1", "Sun, 06 Nov 1994 08:00:00 GMT", "1.5"] {
            assert_eq!(of(value, None), None, "{value}");
        }
    }
}
