//! Tokens and proofs that come from this machine: a program, a file, Azure's metadata service.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use url::Url;

use super::super::endpoint::{self, USUAL_LIFETIME};
use super::{Failure, Grant};
use crate::fault::{Fault, Kind};
use crate::secret::Secret;

/// Octets of a program's answer that are read.
const OUTPUT_CAP: u64 = 256 * 1024;

/// Runs a program that prints a token, or what a token endpoint would answer.
pub(super) async fn command(
    program: &Path,
    arguments: &[String],
    timeout: Duration,
) -> Result<Grant, Failure> {
    let failed = |why: String| {
        let fault = Fault::new(
            Kind::Unavailable,
            format!("the token command {} {why}", program.display()),
        );
        let fault = fault.remedy_is("run it by hand, as the user that authrelay runs as");
        Failure {
            asked: true,
            ..Failure::from(fault)
        }
    };
    let run = async {
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(format!("cannot be run: {error}")))?;
        let mut output = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let read = stdout.take(OUTPUT_CAP).read_to_end(&mut output).await;
            read.map_err(|error| failed(format!("cannot be read: {error}")))?;
        }
        let status = child.wait().await;
        let status = status.map_err(|error| failed(format!("is lost: {error}")))?;
        if !status.success() {
            return Err(failed(format!("failed: {status}")));
        }
        Ok(output)
    };
    let output = tokio::time::timeout(timeout, run)
        .await
        .unwrap_or_else(|_| Err(failed("printed nothing in time".into())))?;
    let text = String::from_utf8(output).unwrap_or_default();
    let text = Secret::from(text);
    if text.expose().trim_start().starts_with('{') {
        return endpoint::grant_of_json(text.expose().as_bytes())
            .ok_or_else(|| failed("printed JSON without an access_token".into()));
    }
    let token = text.expose().trim();
    if token.is_empty() || !token.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Err(failed("printed no token".into()));
    }
    Ok(Grant {
        token: Secret::from(token),
        lifetime: USUAL_LIFETIME,
        stored: false,
    })
}

/// A federated identity's assertion, read anew: its issuer replaces it under our feet.
pub(super) fn federated(path: &Path) -> Result<Secret, Failure> {
    match std::fs::read_to_string(path) {
        Ok(assertion) if !assertion.trim().is_empty() => Ok(Secret::from(assertion.trim())),
        read => {
            let why = read.err().map_or_else(
                || "is empty".to_owned(),
                |error| format!("cannot be read: {error}"),
            );
            let detail = format!("the federated token file {} {why}", path.display());
            let fault = Fault::new(Kind::Unavailable, detail);
            Err(Failure::from(fault.remedy_is(
                "check that the workload's identity token is mounted where federated.file says",
            )))
        }
    }
}

/// `?api-version=…&resource=…`, as the instance metadata service wants it.
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
