//! Entra's endpoints: token, authorize and devicecode, over HTTP and HTTPS.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router, serve::Listener};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::stream::Socket;
use super::tokens::random_text;
use super::{CLIENT_ID, CLIENT_SECRET, Fault, MAILBOX, Shared, TENANT, bind, clock, lock};

type Parameters = HashMap<String, String>;

/// Listens twice, in clear and under TLS; both lead to one server.
pub(super) fn serve(
    shared: &Arc<Shared>,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> io::Result<(SocketAddr, SocketAddr)> {
    let (sender, receiver) = mpsc::channel(64);
    let plain = door(shared, stop, tasks, &sender, false)?;
    let tls = door(shared, stop, tasks, &sender, true)?;
    let entra = Arc::new(Entra {
        shared: shared.clone(),
        codes: Mutex::default(),
    });
    let app = Router::new()
        .route("/{tenant}/oauth2/v2.0/token", post(token))
        .route("/{tenant}/oauth2/v2.0/authorize", get(authorize))
        .route("/{tenant}/oauth2/v2.0/devicecode", post(device_code))
        .with_state(entra);
    let stop = stop.clone();
    tasks.spawn(async move {
        let server = axum::serve(Arrivals(receiver, plain), app).into_future();
        // The server itself never ends.
        stop.run_until_cancelled(server).await;
    });
    Ok((plain, tls))
}

/// Handshakes happen here, each in its own task.
fn door(
    shared: &Arc<Shared>,
    stop: &CancellationToken,
    tasks: &TaskTracker,
    sender: &mpsc::Sender<Guarded>,
    tls: bool,
) -> io::Result<SocketAddr> {
    let listener = bind()?;
    let address = listener.local_addr()?;
    let (shared, stop, sender) = (shared.clone(), stop.clone(), sender.clone());
    tasks.spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((tcp, _)) = accepted else { continue };
            shared.log.note(|seen| seen.token_connections += 1);
            if shared.fault() == Some(Fault::TokenUnreachable) {
                continue;
            }
            let (shared, sender) = (shared.clone(), sender.clone());
            let end = stop.clone();
            tokio::spawn(async move {
                let Some(Ok(socket)) = end.run_until_cancelled(open(&shared, tcp, tls)).await
                else {
                    return;
                };
                let guarded = Guarded {
                    socket,
                    shared,
                    gone: Box::pin(end.cancelled_owned()),
                };
                // Fails only once the server has stopped.
                let _ = sender.send(guarded).await;
            });
        }
    });
    Ok(address)
}

async fn open(shared: &Shared, tcp: TcpStream, tls: bool) -> io::Result<Socket> {
    tcp.set_nodelay(true)?;
    if !tls {
        return Ok(Socket::Plain(tcp));
    }
    let accepted = shared.identities.acceptor(None).accept(tcp).await?;
    Ok(Socket::Tls(Box::new(accepted)))
}

struct Entra {
    shared: Arc<Shared>,
    /// What authorization codes, device codes and refresh tokens were given for.
    codes: Mutex<HashMap<String, Code>>,
}

#[derive(Clone)]
struct Code {
    scope: String,
    /// S256 of the verifier to come.
    challenge: Option<String>,
    redirect: Option<String>,
    /// Polls until a device code is approved.
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

/// Faults below OAuth.
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

/// Faults that Entra states as OAuth errors.
fn stated_fault(fault: Option<Fault>) -> Option<Error> {
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

fn grant(entra: &Entra, tenant: &str, form: &Parameters) -> Result<Value, Error> {
    if ![TENANT, "contoso.test", "common", "organizations"].contains(&tenant) {
        return Err(Error::new(
            400,
            "invalid_request",
            90_002,
            &format!(
                "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."
            ),
        ));
    }
    let (id, grant) = (field(form, "client_id")?, field(form, "grant_type")?);
    if id != CLIENT_ID {
        return Err(app_unknown(id));
    }
    if form.contains_key("client_secret") || form.contains_key("client_assertion") {
        authenticate(form)?;
    } else if grant == "client_credentials" {
        return Err(Error::new(
            401,
            "invalid_client",
            7_000_218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        ));
    }
    let scope = form.get("scope").cloned();
    match grant {
        "client_credentials" => {
            let scope = field(form, "scope")?;
            if !scope.ends_with("/.default") || scope.contains(' ') {
                return Err(Error::new(
                    400,
                    "invalid_scope",
                    1_002_012,
                    &format!(
                        "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI)."
                    ),
                ));
            }
            entra.answer(scope, None, false)
        }
        "password" => {
            let user = field(form, "username")?;
            if field(form, "password")? != super::PASSWORD {
                return Err(Error::new(
                    400,
                    "invalid_grant",
                    50_126,
                    "Error validating credentials due to invalid username or password.",
                ));
            }
            entra.answer(&scope.unwrap_or_default(), Some(user), true)
        }
        "authorization_code" => {
            let code = entra.take(field(form, "code")?, Error::new(400, "invalid_grant", 54_005, "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token."))?;
            if code.redirect.as_ref() != form.get("redirect_uri") {
                return Err(Error::new(
                    400,
                    "invalid_request",
                    50_011,
                    "The redirect URI specified in the request does not match the one the code was issued for.",
                ));
            }
            let verifier = form.get("code_verifier").map(|verifier| s256(verifier));
            if code.challenge != verifier {
                return Err(Error::new(
                    400,
                    "invalid_grant",
                    501_481,
                    "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
                ));
            }
            entra.answer(&code.scope, Some(MAILBOX), true)
        }
        "refresh_token" => {
            // Replaced at each use; the old one stays good for a while.
            let code = lock(&entra.codes)
                .get(field(form, "refresh_token")?)
                .cloned();
            let code = code.ok_or_else(|| Error::new(400, "invalid_grant", 70_008, "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource.").suberror("bad_token"))?;
            entra.answer(&scope.unwrap_or(code.scope), Some(MAILBOX), true)
        }
        "urn:ietf:params:oauth:grant-type:device_code" => {
            let device = field(form, "device_code")?;
            if let Some(code) = lock(&entra.codes).get_mut(device)
                && code.pending > 0
            {
                code.pending -= 1;
                return Err(Error::new(
                    400,
                    "authorization_pending",
                    70_016,
                    "OAuth 2.0 device flow error. Authorization is pending. Continue polling.",
                ));
            }
            let code = entra.take(device, Error::new(400, "bad_verification_code", 70_018, "Invalid verification code due to User typing in wrong user code for device code flow."))?;
            entra.answer(&code.scope, Some(MAILBOX), true)
        }
        _ => Err(Error::new(
            400,
            "unsupported_grant_type",
            70_003,
            &format!("The app requested an unsupported grant type '{grant}'."),
        )),
    }
}

/// By secret, or by an assertion that has the right shape; its signature is not looked at.
fn authenticate(form: &Parameters) -> Result<(), Error> {
    if let Some(secret) = form.get("client_secret") {
        return if secret == CLIENT_SECRET {
            Ok(())
        } else {
            Err(secret_wrong())
        };
    }
    let bad = |why: &str| {
        Error::new(
            401,
            "invalid_client",
            700_027,
            &format!(
                "The certificate with identifier used to sign the client assertion is not registered on application. {why}"
            ),
        )
    };
    let kind = field(form, "client_assertion_type")?;
    if kind != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
        return Err(bad("Wrong client_assertion_type."));
    }
    let (head, claims) =
        assertion(field(form, "client_assertion")?).ok_or_else(|| bad("No JWT."))?;
    let text = |value: &Value, key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    // A federated assertion is issued by another party, without a thumbprint.
    let federated = text(&claims, "iss") != CLIENT_ID;
    if !federated {
        if !["PS256", "RS256"].contains(&text(&head, "alg").as_str()) {
            return Err(bad("Wrong alg."));
        }
        if head.get("x5t#S256").or_else(|| head.get("x5t")).is_none() {
            return Err(bad("No thumbprint."));
        }
        if text(&claims, "sub") != CLIENT_ID
            || !text(&claims, "aud").ends_with("/oauth2/v2.0/token")
        {
            return Err(bad("Wrong sub or aud."));
        }
    }
    match claims.get("exp").and_then(Value::as_u64) {
        Some(exp) if exp > clock::now() => Ok(()),
        _ => Err(Error::new(
            401,
            "invalid_client",
            700_024,
            "Client assertion is not within its valid time range.",
        )),
    }
}

fn assertion(jwt: &str) -> Option<(Value, Value)> {
    let mut parts = jwt.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let (head, claims, signature) = (parts.next()??, parts.next()??, parts.next()??);
    if signature.is_empty() || parts.next().is_some() {
        return None;
    }
    Some((
        serde_json::from_slice(&head).ok()?,
        serde_json::from_slice(&claims).ok()?,
    ))
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
        lock(&self.codes).insert(
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
        lock(&self.codes).remove(code).ok_or(error)
    }
}

/// Consents at once, as somebody at the browser would.
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

/// A line for the transcript, without secrets.
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

fn secret_wrong() -> Error {
    Error::new(
        401,
        "invalid_client",
        7_000_215,
        &format!(
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{CLIENT_ID}'."
        ),
    )
}

fn app_unknown(id: &str) -> Error {
    Error::new(
        400,
        "unauthorized_client",
        700_016,
        &format!(
            "Application with identifier '{id}' was not found in the directory 'Contoso'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant."
        ),
    )
}

/// An error in Entra's JSON.
struct Error {
    status: StatusCode,
    error: &'static str,
    code: u32,
    text: String,
    suberror: Option<&'static str>,
}

impl Error {
    fn new(status: u16, error: &'static str, code: u32, text: &str) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
            error,
            code,
            text: text.to_owned(),
            suberror: None,
        }
    }

    fn suberror(self, suberror: &'static str) -> Self {
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

/// Connections that have passed the door, as axum wants them.
struct Arrivals(mpsc::Receiver<Guarded>, SocketAddr);

impl Listener for Arrivals {
    type Io = Guarded;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guarded, SocketAddr) {
        match self.0.recv().await {
            Some(guarded) => (guarded, self.1),
            None => match std::future::pending::<Infallible>().await {},
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.1)
    }
}

/// A connection that breaks at `token-unreachable`, and when the sandbox stops.
struct Guarded {
    socket: Socket,
    shared: Arc<Shared>,
    gone: Pin<Box<tokio_util::sync::WaitForCancellationFutureOwned>>,
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.gone.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let read = Pin::new(&mut this.socket).poll_read(cx, buffer);
        if read.is_ready() && this.shared.fault() == Some(Fault::TokenUnreachable) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        read
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
