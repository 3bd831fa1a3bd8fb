//! Tokens and assertions from this machine: a program, a file, or Azure's metadata service.

use std::path::Path;
use std::time::Duration;

use url::Url;

use super::super::answer::{AccessTokenResponse, USUAL_LIFETIME};
use super::super::failure::TokenError;
use super::super::issued::IssuedToken;
use crate::config::Program;
use crate::program;
use crate::secret::Secret;

/// Runs a program that prints a token, or the JSON of a token endpoint.
pub(super) async fn command(
    command: &Program,
    timeout: Duration,
) -> Result<IssuedToken, TokenError> {
    let name = command.program.display().to_string();
    let failed = |why: &str| {
        TokenError::later(format!("the token command {name} {why}"))
            .remedy("run it by hand, as the user that authrelay runs as")
            .asked()
    };
    let command = command.clone();
    let run = move || program::run(&command.program, &command.arguments, timeout);
    let output = match tokio::task::spawn_blocking(run).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(failed(&error.to_string())),
        Err(_) => return Err(failed("is lost")),
    };
    let Ok(text) = std::str::from_utf8(&output) else {
        return Err(failed("printed no token"));
    };
    if text.trim_start().starts_with('{') {
        return AccessTokenResponse::from_json(text.as_bytes())
            .map(|answer| answer.grant())
            .ok_or_else(|| failed("printed JSON without an access_token"));
    }
    let token = text.trim();
    // What begins so is other JSON, a page, or a token in quotes.
    let is_other = token.starts_with(['[', '"', '\'', '<']);
    if token.is_empty() || is_other || !token.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Err(failed("printed no token"));
    }
    Ok(IssuedToken::new(Secret::from(token), USUAL_LIFETIME))
}

/// Reads a federated identity's assertion. Its issuer replaces the file, so it is read each time.
pub(super) fn federated(path: &Path) -> Result<Secret, TokenError> {
    match std::fs::read_to_string(path) {
        Ok(assertion) if !assertion.trim().is_empty() => Ok(Secret::from(assertion.trim())),
        read => {
            let why = read.err().map_or_else(
                || "is empty".to_owned(),
                |error| format!("cannot be read: {error}"),
            );
            Err(
                TokenError::later(format!("the federated token file {} {why}", path.display()))
                    .remedy("check that the workload's identity token is mounted where federated.file says"),
            )
        }
    }
}

/// Builds `?api-version=…&resource=…`, as the instance metadata service requires.
pub(super) fn metadata_url(url: &Url, scope: &[String], client_id: Option<&str>) -> Url {
    let resource = scope.first().map_or("", String::as_str);
    let mut url = url.clone();
    url.query_pairs_mut()
        .append_pair("api-version", "2018-02-01")
        .append_pair(
            "resource",
            resource.strip_suffix("/.default").unwrap_or(resource),
        );
    if let Some(client_id) = client_id {
        url.query_pairs_mut().append_pair("client_id", client_id);
    }
    url
}
