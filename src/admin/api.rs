//! `/api/…`: JSON for scripts, for the page and for `authrelay accounts` and `authorize`.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::state::AdminState;
use crate::config::{Account, Grant};
use crate::doctor::{self, TestTarget};
use crate::fault::Fault;
use crate::secret::Secret;
use crate::session::Service;
use crate::status;
use crate::token::authorizations::{LIFETIME, Progress};
use crate::wire::Protocol;

/// Lists every account with its state.
pub(super) async fn accounts(State(state): State<Arc<AdminState>>) -> Response {
    // Reading the store blocks, which must not happen on the threads that relay.
    let rows = tokio::task::spawn_blocking(move || {
        let service = state.current.active();
        status::accounts(
            &service.accounts,
            &service.token_source,
            &service.state.history,
        )
    });
    match rows.await {
        Ok(rows) => Json(rows).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Lists the open sessions.
pub(super) async fn sessions(State(state): State<Arc<AdminState>>) -> Response {
    Json(state.current.active().state.sessions.rows(status::rfc3339)).into_response()
}

/// Reloads the configuration.
pub(super) async fn reload(State(state): State<Arc<AdminState>>) -> Response {
    match (state.reload)().await {
        Ok(applied) => Json(applied).into_response(),
        Err(problems) => {
            let answer = json!({"error": "nothing was changed", "problems": problems});
            (StatusCode::UNPROCESSABLE_ENTITY, Json(answer)).into_response()
        }
    }
}

/// Starts a consent for a login.
pub(super) async fn authorize(
    State(state): State<Arc<AdminState>>,
    Path(login): Path<String>,
) -> Response {
    let login = login.to_lowercase();
    let Some(account) = state.current.active().find(&login).cloned() else {
        return unknown(&login);
    };
    let service = state.current.active();
    let token_source = &service.token_source;
    match account.registration.grant {
        Grant::DeviceCode(_) => match token_source.start_device(&account, &login).await {
            Ok(device) => {
                let answer = json!({
                    "user_code": device.user_code(),
                    "verification_uri": device.verification_uri(),
                    "expires_in": device.expires_in().as_secs(),
                });
                tokio::spawn(wait(state.clone(), account, login, device));
                Json(answer).into_response()
            }
            Err(fault) => failed(&fault),
        },
        _ => match state.consents.begin(token_source, &account, &login) {
            Ok(url) => {
                Json(json!({"url": url.as_str(), "expires_in": LIFETIME.as_secs()})).into_response()
            }
            Err(fault) => failed(&fault),
        },
    }
}

/// Query for the state of a consent.
#[derive(Deserialize)]
pub(super) struct Begun {
    /// State parameter, as in the address that the person was sent to.
    state: String,
}

/// Reports the state of a consent that was begun here: `pending`, `given`, `failed` or `unknown`.
pub(super) async fn progress(
    State(state): State<Arc<AdminState>>,
    Query(begun): Query<Begun>,
) -> Response {
    let token_source = state.current.active().token_source.clone();
    let answer = match state.consents.progress(&token_source, &begun.state).await {
        None => json!({"state": "unknown"}),
        Some(Progress::Pending) => json!({"state": "pending"}),
        Some(Progress::Given) => json!({"state": "given"}),
        Some(Progress::Failed(fault)) => {
            json!({"state": "failed", "error": fault.detail(), "remedy": fault.remedy()})
        }
    };
    Json(answer).into_response()
}

/// Waits until the person has entered the code.
async fn wait(
    state: Arc<AdminState>,
    account: Arc<Account>,
    login: String,
    device: crate::token::DeviceAuthorization,
) {
    let service = state.current.active();
    let token_source = &service.token_source;
    let completed = token_source.complete_device(&device, tokio::time::sleep);
    if let Err(fault) = completed.await {
        tracing::warn!(
            login,
            registration = account.registration.name,
            detail = fault.detail(),
            remedy = fault.remedy(),
            "no consent"
        );
    }
}

#[derive(Deserialize)]
pub(super) struct Asked {
    /// Protocol to test, one of the account's; absent: all of them.
    protocol: Option<String>,
    /// `1` streams each step when it ends.
    stream: Option<String>,
}

/// The user's password, where the identity provider checks it (grant `password`).
#[derive(Deserialize)]
struct Presented {
    password: Option<Secret>,
}

/// A step, in a stream of those of several protocols.
#[derive(Serialize)]
struct Streamed<'a> {
    protocol: &'static str,
    #[serde(flatten)]
    step: &'a doctor::Step,
}

/// Runs "Test connection" for one login.
pub(super) async fn test(
    State(state): State<Arc<AdminState>>,
    Path(login): Path<String>,
    Query(asked): Query<Asked>,
    body: Bytes,
) -> Response {
    let login = login.to_lowercase();
    let service = state.current.active();
    let Some(account) = service.find(&login).cloned() else {
        return unknown(&login);
    };
    let password = serde_json::from_slice::<Presented>(&body)
        .ok()
        .and_then(|presented| presented.password);
    if account.registration.grant.needs_client_password() && password.is_none() {
        let what = "the identity provider checks this account's password: send {\"password\": …}";
        return error(StatusCode::BAD_REQUEST, what);
    }
    let targets = match asked.protocol.as_deref().map(Protocol::from_name) {
        Some(None) => Vec::new(),
        protocol => TestTarget::of(&account, &login, protocol.flatten(), password.as_ref()),
    };
    if targets.is_empty() {
        return error(StatusCode::BAD_REQUEST, "protocol is imap, pop3 or smtp");
    }
    let Ok(turn) = state.tests.clone().try_acquire_owned() else {
        let what = "other tests are running, try again in a moment";
        return error(StatusCode::TOO_MANY_REQUESTS, what);
    };
    if asked.stream.as_deref() == Some("1") {
        return streamed(service, targets, turn);
    }
    let mut reports = Vec::new();
    for target in &targets {
        reports.push(doctor::test_connection(&service, target, |_| {}).await);
    }
    match &reports[..] {
        [one] => Json(one).into_response(),
        several => Json(several).into_response(),
    }
}

/// Streams one JSON object per line, each when its step ends.
fn streamed(
    service: Arc<Service>,
    targets: Vec<TestTarget>,
    turn: OwnedSemaphorePermit,
) -> Response {
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    tokio::spawn(async move {
        let _turn = turn;
        for target in &targets {
            let examination = doctor::test_connection(&service, target, |step| {
                let protocol = target.protocol.name();
                let line = serde_json::to_string(&Streamed { protocol, step });
                let _ = sender.send(Bytes::from(line.unwrap_or_default() + "\n"));
            });
            // The browser has closed the connection.
            tokio::select! {
                _ = examination => {}
                () = sender.closed() => return,
            }
        }
    });
    let lines = futures_util::stream::poll_fn(move |cx| {
        let line = lines.poll_recv(cx);
        line.map(|line| line.map(Ok::<_, Infallible>))
    });
    let header = [("content-type", "application/x-ndjson")];
    (header, Body::from_stream(lines)).into_response()
}

/// Responds with an error and its reason.
pub(super) fn error(status: StatusCode, what: &str) -> Response {
    (status, Json(json!({"error": what}))).into_response()
}

/// Deletes the stored consent of a login.
pub(super) async fn forget(
    State(state): State<Arc<AdminState>>,
    Path(login): Path<String>,
) -> Response {
    let login = login.to_lowercase();
    let known = state.current.active().find(&login).is_some();
    let token_source = state.current.active().token_source.clone();
    match token_source.forget(&login).await {
        // A record can be deleted even if no account has its login any more.
        Ok(false) if !known => unknown(&login),
        Ok(forgotten) => {
            tracing::info!(login, forgotten, "tokens forgotten");
            Json(json!({"forgotten": forgotten})).into_response()
        }
        Err(why) => error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    }
}

fn unknown(login: &str) -> Response {
    let what = format!("no account has the login {login}");
    error(StatusCode::NOT_FOUND, &what)
}

fn failed(fault: &Fault) -> Response {
    let body = json!({
        "side": fault.kind().side().name(),
        "kind": fault.kind().name(),
        "error": fault.detail(),
        "remedy": fault.remedy(),
    });
    (StatusCode::CONFLICT, Json(body)).into_response()
}
