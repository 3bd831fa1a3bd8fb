//! `/api/…`: JSON for scripts, for the page and for `authrelay accounts` and `authorize`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::Panel;
use crate::config::{Account, Grant};
use crate::consent::{Given, LIFETIME};
use crate::fault::Fault;
use crate::overview;

/// Every account.
pub(super) async fn accounts(State(panel): State<Arc<Panel>>) -> Response {
    // The store is read: not on the threads that relay.
    let rows = tokio::task::spawn_blocking(move || {
        let service = panel.current.get();
        overview::accounts(service.accounts(), service.broker(), service.ledger())
    });
    match rows.await {
        Ok(rows) => Json(rows).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Every session that is open.
pub(super) async fn sessions(State(panel): State<Arc<Panel>>) -> Response {
    Json(panel.current.get().sessions().rows(overview::rfc3339)).into_response()
}

/// Reads the configuration anew.
pub(super) async fn reload(State(panel): State<Arc<Panel>>) -> Response {
    match (panel.reload)().await {
        Ok(applied) => Json(applied).into_response(),
        Err(problems) => {
            let answer = json!({"error": "nothing was changed", "problems": problems});
            (StatusCode::UNPROCESSABLE_ENTITY, Json(answer)).into_response()
        }
    }
}

/// Begins a consent.
pub(super) async fn authorize(
    State(panel): State<Arc<Panel>>,
    Path(login): Path<String>,
) -> Response {
    let login = login.to_lowercase();
    let Some(account) = panel.current.get().find(&login).cloned() else {
        return unknown(&login);
    };
    let service = panel.current.get();
    let broker = service.broker();
    match account.registration.grant {
        Grant::DeviceCode(_) => match broker.begin_device(&account, &login).await {
            Ok(device) => {
                let answer = json!({
                    "user_code": device.user_code(),
                    "verification_uri": device.verification_uri(),
                    "expires_in": device.expires_in().as_secs(),
                });
                tokio::spawn(wait(panel.clone(), account, login, device));
                Json(answer).into_response()
            }
            Err(fault) => failed(&fault),
        },
        _ => match panel.consents.begin(broker, &account, &login) {
            Ok(url) => {
                Json(json!({"url": url.as_str(), "expires_in": LIFETIME.as_secs()})).into_response()
            }
            Err(fault) => failed(&fault),
        },
    }
}

/// Until the person has entered the code.
async fn wait(
    panel: Arc<Panel>,
    account: Arc<Account>,
    login: String,
    device: crate::token::Device,
) {
    let service = panel.current.get();
    let broker = service.broker();
    match broker.finish_device(&device, tokio::time::sleep).await {
        Ok(consent) => {
            let given = Given {
                mailbox: device.mailbox(),
                login,
                consent,
            };
            tracing::info!(
                login = given.login,
                identity = given.consent.identity,
                "consent given"
            );
            if let Some(warning) = given.warning() {
                tracing::warn!(login = given.login, "{warning}");
            }
        }
        Err(fault) => tracing::warn!(
            login,
            registration = account.registration.name,
            detail = fault.detail(),
            remedy = fault.remedy(),
            "no consent"
        ),
    }
}

/// Deletes what is stored of a login.
pub(super) async fn forget(State(panel): State<Arc<Panel>>, Path(login): Path<String>) -> Response {
    let login = login.to_lowercase();
    if panel.current.get().find(&login).is_none() {
        return unknown(&login);
    }
    let Some(store) = panel.current.get().broker().store().cloned() else {
        return Json(json!({"forgotten": false})).into_response();
    };
    let name = login.clone();
    let done = tokio::task::spawn_blocking(move || store.forget(&name)).await;
    match done {
        Ok(Ok(forgotten)) => {
            tracing::info!(login, forgotten, "tokens forgotten");
            Json(json!({"forgotten": forgotten})).into_response()
        }
        Ok(Err(error)) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            Json(json!({"error": error.to_string()})),
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn unknown(login: &str) -> Response {
    let error = format!("no account has the login {login}");
    (StatusCode::NOT_FOUND, Json(json!({"error": error}))).into_response()
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
