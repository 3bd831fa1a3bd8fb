//! Entra's endpoints: token, authorize and devicecode, over HTTP and HTTPS.

mod connections;
mod error;
mod grant;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tokens::random_text;
use super::{CLIENT_ID, Fault, Shared};
use connections::{Accepted, listen};
use error::{Error, stated_fault};
use grant::{assertion, grant};

type Parameters = HashMap<String, String>;

/// Serves in clear and under TLS; returns both addresses.
pub(super) fn serve(
    shared: &Arc<Shared>,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> io::Result<(SocketAddr, SocketAddr)> {
    let (sender, receiver) = mpsc::channel(64);
    let plain = listen(shared, stop, tasks, &sender, false)?;
    let tls = listen(shared, stop, tasks, &sender, true)?;
    let entra = Arc::new(Entra {
        shared: shared.clone(),
        codes: Mutex::default(),
    });
    let app = Router::new()
        .route("/{tenant}/oauth2/v2.0/token", post(token))
        .route("/{tenant}/oauth2/v2.0/authorize", get(authorize))
        .route("/{tenant}/oauth2/v2.0/devicecode", post(device_code))
        .route("/metadata/identity/oauth2/token", get(metadata))
        .with_state(entra);
    let stop = stop.clone();
    tasks.spawn(async move {
        let server = axum::serve(Accepted(receiver, plain), app).into_future();
        // The server itself never ends.
        stop.run_until_cancelled(server).await;
    });
    Ok((plain, tls))
}

struct Entra {
    shared: Arc<Shared>,
    /// Authorization codes, device codes and refresh tokens, with what each was issued for.
    codes: Mutex<HashMap<String, Code>>,
}

#[derive(Clone)]
struct Code {
    scope: String,
    /// PKCE challenge, S256 (RFC 7636 §4.2).
    challenge: Option<String>,
    redirect: Option<String>,
    /// Number of polls until a device code is approved.
    pending: u32,
}

async fn token(
    State(entra): State<Arc<Entra>>,
    Path(tenant): Path<String>,
    Form(form): Form<Parameters>,
) -> Response {
    let shared = &entra.shared;
    shared.log.token_request(&summary(&form));
    tokio::time::sleep(shared.options.token_delay).await;
    if let Some(response) = transport_fault(shared.fault()).await {
        return response;
    }
    if let Some(error) = stated_fault(shared.fault()) {
        return error.into_response();
    }
    match grant(&entra, &tenant, &form) {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => error.into_response(),
    }
}

/// Response of a fault in HTTP, below OAuth.
async fn transport_fault(fault: Option<Fault>) -> Option<Response> {
    let page =
        "<!DOCTYPE html><html><body><h1>Our services aren't available right now</h1></body></html>";
    let json_type = [(header::CONTENT_TYPE, "application/json")];
    Some(match fault? {
        Fault::TokenSlow => std::future::pending().await,
        Fault::Token429 => (
            StatusCode::TOO_MANY_REQUESTS,
            [(header::RETRY_AFTER, "60")],
            "Too Many Requests",
        )
            .into_response(),
        Fault::Token500 => (StatusCode::INTERNAL_SERVER_ERROR, Html(page)).into_response(),
        Fault::TokenHtml => Html(page).into_response(),
        Fault::TokenGarbage => {
            (json_type, r#"{"token_type":"Bearer","expires_in":3599}"#).into_response()
        }
        Fault::TokenTruncated => {
            (json_type, r#"{"token_type":"Bearer","expires_in":35"#).into_response()
        }
        Fault::TokenRedirect => {
            Redirect::temporary("https://login.fabrikam.test/token").into_response()
        }
        _ => return None,
    })
}

impl Entra {
    fn answer(&self, scope: &str, upn: Option<&str>, refreshable: bool) -> Result<Value, Error> {
        let fault = self.shared.fault();
        let options = &self.shared.options;
        let token = self
            .shared
            .tokens
            .issue(options.token_size, options.lifetime, scope, upn, fault)
            .map_err(|_| Error::new(503, "temporarily_unavailable", 90_033, "No randomness."))?;
        self.shared.log.note(|seen| seen.tokens_issued += 1);
        let seconds = options.lifetime.as_secs();
        let expires_in = match fault {
            Some(Fault::TokenExpiresString) => json!(seconds.to_string()),
            Some(Fault::TokenExpiresZero) => json!(0),
            Some(Fault::TokenExpiresHuge) => json!(u64::MAX),
            _ => json!(seconds),
        };
        let mut answer = json!({"token_type": "Bearer", "scope": scope, "expires_in": expires_in, "ext_expires_in": expires_in, "access_token": token});
        if let Some(answer) = answer.as_object_mut() {
            if fault == Some(Fault::TokenExpiresMissing) {
                answer.remove("expires_in");
                answer.remove("ext_expires_in");
            }
            if refreshable && scope.split(' ').any(|word| word == "offline_access") {
                answer.insert(
                    "refresh_token".to_owned(),
                    json!(self.code(scope, None, None, 0)?),
                );
            }
        }
        Ok(answer)
    }

    fn code(
        &self,
        scope: &str,
        challenge: Option<String>,
        redirect: Option<String>,
        pending: u32,
    ) -> Result<String, Error> {
        let text = random_text(120)
            .map_err(|_| Error::new(503, "temporarily_unavailable", 90_033, "No randomness."))?;
        let code = format!("1.AX{text}");
        let scope = scope.to_owned();
        self.codes.lock().insert(
            code.clone(),
            Code {
                scope,
                challenge,
                redirect,
                pending,
            },
        );
        Ok(code)
    }

    fn take(&self, code: &str, error: Error) -> Result<Code, Error> {
        self.codes.lock().remove(code).ok_or(error)
    }
}

/// Redirects with a code at once, as if a person had consented.
async fn authorize(State(entra): State<Arc<Entra>>, Query(query): Query<Parameters>) -> Response {
    let text = |key: &str| query.get(key).cloned().unwrap_or_default();
    let Ok(mut target) = url::Url::parse(&text("redirect_uri")) else {
        return Error::new(
            400,
            "invalid_request",
            50_011,
            "The redirect URI is not valid.",
        )
        .into_response();
    };
    let refused = match entra.shared.fault() {
        Some(Fault::ConsentMissing) => Some((
            "access_denied",
            "AADSTS65004: User declined to consent to access the app.",
        )),
        _ if text("client_id") != CLIENT_ID => Some((
            "unauthorized_client",
            "AADSTS700016: Application not found in the directory.",
        )),
        _ if text("code_challenge_method") != "S256" => Some((
            "invalid_request",
            "AADSTS501491: Invalid size or method of Code_Challenge parameter.",
        )),
        _ => None,
    };
    if let Some((error, description)) = refused {
        target
            .query_pairs_mut()
            .append_pair("error", error)
            .append_pair("error_description", description);
    } else {
        match entra.code(
            &text("scope"),
            query.get("code_challenge").cloned(),
            query.get("redirect_uri").cloned(),
            0,
        ) {
            Ok(code) => target.query_pairs_mut().append_pair("code", &code),
            Err(error) => return error.into_response(),
        };
    }
    target
        .query_pairs_mut()
        .append_pair("state", &text("state"));
    (StatusCode::FOUND, [(header::LOCATION, target.to_string())]).into_response()
}

async fn device_code(State(entra): State<Arc<Entra>>, Form(form): Form<Parameters>) -> Response {
    let scope = form.get("scope").cloned().unwrap_or_default();
    match entra.code(&scope, None, None, entra.shared.options.device_polls) {
        Ok(code) => Json(json!({
            "user_code": "SANDBOX42", "device_code": code, "expires_in": 900, "interval": 1,
            "verification_uri": "https://microsoft.com/devicelogin",
            "message": "To sign in, use a web browser to open the page https://microsoft.com/devicelogin and enter the code SANDBOX42 to authenticate.",
        }))
        .into_response(),
        Err(error) => error.into_response(),
    }
}

/// Azure's instance metadata service, which writes its times as strings.
async fn metadata(
    State(entra): State<Arc<Entra>>,
    headers: HeaderMap,
    Query(query): Query<Parameters>,
) -> Response {
    entra.shared.log.token_request(&format!(
        "metadata {}",
        query.get("resource").map_or("", String::as_str)
    ));
    if headers.get("metadata").is_none_or(|value| value != "true") {
        let body = json!({"error": "invalid_request", "error_description": "Required metadata header not specified"});
        return (StatusCode::BAD_REQUEST, Json(body)).into_response();
    }
    let resource = query.get("resource").map_or("", String::as_str);
    match entra.answer(&format!("{resource}/.default"), None, false) {
        Ok(answer) => {
            let value = |key: &str| answer.get(key).cloned().unwrap_or_default();
            Json(json!({
                "access_token": value("access_token"), "token_type": "Bearer", "resource": resource,
                "expires_in": value("expires_in").to_string(),
            }))
            .into_response()
        }
        Err(error) => error.into_response(),
    }
}

fn s256(verifier: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    URL_SAFE_NO_PAD.encode(digest)
}

fn field<'a>(form: &'a Parameters, key: &str) -> Result<&'a str, Error> {
    form.get(key).map(String::as_str).ok_or_else(|| {
        Error::new(
            400,
            "invalid_request",
            900_144,
            &format!("The request body must contain the following parameter: '{key}'."),
        )
    })
}

/// Line of the transcript, without secrets.
fn summary(form: &Parameters) -> String {
    let text = |key: &str| form.get(key).cloned().unwrap_or_default();
    let proof = match (
        form.get("client_assertion"),
        form.contains_key("client_secret"),
    ) {
        (Some(jwt), _) => assertion(jwt).map_or_else(
            || "assertion".to_owned(),
            |(head, _)| format!("assertion {head}"),
        ),
        (None, true) => "secret".to_owned(),
        (None, false) => "none".to_owned(),
    };
    format!(
        "{} client={} scope={} proof={proof}",
        text("grant_type"),
        text("client_id"),
        text("scope")
    )
}
