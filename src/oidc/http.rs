//! Requests to the identity provider, each with a deadline and a limited response. No request
//! leaves this machine in clear, whatever URL a discovery document names.

use std::time::Duration;

use ::http::StatusCode;
use openidconnect::{HttpRequest, HttpResponse};
use url::Url;

use crate::config::is_loopback;
use crate::outbound::http;

/// Longest duration of a request, response body included.
const DEADLINE: Duration = Duration::from_secs(10);

/// Largest response, in octets; discovery documents and key sets have some tens of thousands.
const ANSWER_CAP: usize = 1024 * 1024;

/// Reason why a request has no response that says anything about it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unanswered(String);

/// Sends a request and reads the whole response. With `clear`, http to this machine is allowed.
pub(super) async fn send(
    client: http::Client,
    clear: bool,
    request: HttpRequest,
) -> Result<HttpResponse, Unanswered> {
    let url = request.uri().to_string();
    if !Url::parse(&url).is_ok_and(|url| is_safe(&url, clear)) {
        return Err(Unanswered("it names an address without https".into()));
    }
    match tokio::time::timeout(DEADLINE, exchange(&client, request)).await {
        Ok(answered) => answered,
        Err(_) => Err(Unanswered(format!(
            "no answer within {} s",
            DEADLINE.as_secs()
        ))),
    }
}

async fn exchange(client: &http::Client, request: HttpRequest) -> Result<HttpResponse, Unanswered> {
    let failed = |error: &dyn std::error::Error| Unanswered(http::causes(error));
    let mut answer = client
        .execute(request)
        .await
        .map_err(|error| failed(&error))?;
    let status = answer.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Unanswered(format!("it answers HTTP {}", status.as_u16())));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_CAP {
            return Err(Unanswered("its answer is larger than 1 MiB".into()));
        }
    }
    let mut response = HttpResponse::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = answer.headers().clone();
    Ok(response)
}

/// Whether a URL is https or, with `clear`, http to a loopback address.
pub(super) fn is_safe(url: &Url, clear: bool) -> bool {
    match url.scheme() {
        "https" => url.has_host(),
        "http" => clear && is_loopback(url),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_asked_in_clear() {
        for (url, clear, safe) in [
            ("https://id.contoso.com/keys", false, true),
            ("http://id.contoso.com/keys", true, false),
            ("http://127.0.0.1:9000/keys", true, true),
            ("http://127.0.0.1:9000/keys", false, false),
            ("http://localhost/keys", true, true),
            ("http://[::1]:9000/keys", true, true),
            ("file:///etc/passwd", true, false),
        ] {
            assert_eq!(is_safe(&Url::parse(url).unwrap(), clear), safe, "{url}");
        }
    }
}
