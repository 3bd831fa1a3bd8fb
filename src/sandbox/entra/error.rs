//! Errors in Entra's words.

use axum::Json;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::sandbox::{CLIENT_ID, Fault, clock};

/// An error in Entra's JSON.
pub(super) struct Error {
    status: StatusCode,
    error: &'static str,
    code: u32,
    text: String,
    suberror: Option<&'static str>,
}

impl Error {
    pub fn new(status: u16, error: &'static str, code: u32, text: &str) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
            error,
            code,
            text: text.to_owned(),
            suberror: None,
        }
    }

    pub fn suberror(self, suberror: &'static str) -> Self {
        Self {
            suberror: Some(suberror),
            ..self
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (code, text, time) = (self.code, self.text, clock::entra(clock::now()));
        let (trace, correlation) = (
            "7dd1a2a0-5b7e-4e0e-9d5e-5a4db0000000",
            "0fd2a1f5-0000-4000-8000-5a4db0000001",
        );
        let mut body = json!({
            "error": self.error,
            "error_description": format!("AADSTS{code}: {text}\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: {time}"),
            "error_codes": [code], "timestamp": time, "trace_id": trace, "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
        });
        if let (Some(body), Some(suberror)) = (body.as_object_mut(), self.suberror) {
            body.insert("suberror".to_owned(), json!(suberror));
        }
        let request_id = (HeaderName::from_static("x-ms-request-id"), trace);
        (self.status, [request_id], Json(body)).into_response()
    }
}

/// OAuth error of a fault, if it has one.
pub(super) fn stated_fault(fault: Option<Fault>) -> Option<Error> {
    let app = format!("'{CLIENT_ID}'(authrelay sandbox)");
    Some(match fault? {
        Fault::SecretWrong => secret_wrong(),
        Fault::SecretExpired => Error::new(401, "invalid_client", 7_000_222, "The provided client secret keys for app '11111111-2222-3333-4444-555555555555' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds."),
        Fault::AppUnknown => app_unknown(CLIENT_ID),
        Fault::ConsentMissing => Error::new(400, "invalid_grant", 65_001, &format!("The user or administrator has not consented to use the application with ID {app}. Send an interactive authorization request for this user and resource.")).suberror("consent_required"),
        Fault::MfaRequired => Error::new(400, "invalid_grant", 50_076, "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access '00000002-0000-0ff1-ce00-000000000000'.").suberror("basic_action"),
        Fault::ConditionalAccess => Error::new(400, "invalid_grant", 53_003, "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.").suberror("message_only"),
        Fault::RefreshRevoked => Error::new(400, "invalid_grant", 50_173, "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password.").suberror("bad_token"),
        Fault::TokenThrottled => Error::new(400, "invalid_grant", 50_196, "The server terminated an operation because it encountered a client request loop. Please contact your app vendor."),
        Fault::TokenTransient => Error::new(503, "temporarily_unavailable", 90_033, "A transient error has occurred. Please try again."),
        _ => return None,
    })
}

pub(super) fn secret_wrong() -> Error {
    Error::new(
        401,
        "invalid_client",
        7_000_215,
        &format!(
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{CLIENT_ID}'."
        ),
    )
}

pub(super) fn app_unknown(id: &str) -> Error {
    Error::new(
        400,
        "unauthorized_client",
        700_016,
        &format!(
            "Application with identifier '{id}' was not found in the directory 'Contoso'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant."
        ),
    )
}
