//! A token endpoint whose refresh tokens are good once or for ever, and that can hold its answers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authrelay::sandbox::Sandbox;
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tokio::sync::watch;

/// What the endpoint has seen, and how it answers.
struct Shared {
    one_use: bool,
    /// Access tokens that the mail service knows, still to be given.
    tokens: Mutex<Vec<String>>,
    state: Mutex<Seen>,
    /// Requests that have come so far, whether or not they were answered.
    arrived: watch::Sender<usize>,
    /// What happens to the next request.
    next: Mutex<Hold>,
    held: watch::Sender<bool>,
}

/// Where a request is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    Nowhere,
    /// Before the token is redeemed: whoever goes meanwhile has redeemed nothing.
    Before,
    /// After the token is redeemed, and before the answer is sent.
    After,
}

/// Requests so far.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Number of the newest refresh token.
    pub newest: usize,
    /// Redemptions that were answered with a token.
    pub redeemed: usize,
    /// Refresh tokens that were shown again, though they are good once.
    pub shown_again: Vec<String>,
    /// Lifetime of the next access tokens, in seconds.
    pub lifetime: u64,
}

/// Ends with the test's runtime.
pub struct Provider {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Provider {
    /// Starts the endpoint in a process where the sandbox does not run yet.
    pub async fn start(one_use: bool) -> Self {
        let shared = Arc::new(Shared {
            one_use,
            tokens: Mutex::default(),
            state: Mutex::new(Seen {
                lifetime: 3_600,
                ..Seen::default()
            }),
            arrived: watch::Sender::new(0),
            next: Mutex::new(Hold::Nowhere),
            held: watch::Sender::new(false),
        });
        let router = axum::Router::new()
            .route("/token", axum::routing::post(answer))
            .with_state(shared.clone());
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(socket, router).await });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// Gives it access tokens that the mail service takes.
    pub fn stock(&self, sandbox: &Sandbox) {
        let mut tokens = self.shared.tokens.lock().unwrap();
        tokens.extend((0..60).map(|_| sandbox.issue_token().unwrap()));
    }

    /// Lifetime of the access tokens from now on.
    pub fn set_lifetime(&self, seconds: u64) {
        self.shared.state.lock().unwrap().lifetime = seconds;
    }

    /// Holds the next request until it is released.
    pub fn hold_next(&self, hold: Hold) {
        self.shared.held.send_replace(true);
        *self.shared.next.lock().unwrap() = hold;
    }

    /// Lets go of what was held.
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    pub fn seen(&self) -> Seen {
        self.shared.state.lock().unwrap().clone()
    }

    /// Requests that have come so far.
    pub fn arrived(&self) -> usize {
        *self.shared.arrived.borrow()
    }

    /// Until so many requests have come.
    pub async fn until_arrived(&self, count: usize) {
        let mut arrived = self.shared.arrived.subscribe();
        let waiting = arrived.wait_for(|arrived| *arrived >= count);
        let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        waited.expect("a token request comes").unwrap();
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let hold = std::mem::replace(&mut *shared.next.lock().unwrap(), Hold::Nowhere);
    shared.arrived.send_modify(|arrived| *arrived += 1);
    let mut held = shared.held.subscribe();
    if hold == Hold::Before {
        let _ = held.wait_for(|held| !*held).await;
    }
    let (status, answer) = redeemed(&shared, &form);
    if hold == Hold::After {
        let _ = held.wait_for(|held| !*held).await;
    }
    (status, answer.to_string()).into_response()
}

fn redeemed(shared: &Shared, form: &HashMap<String, String>) -> (StatusCode, serde_json::Value) {
    let mut state = shared.state.lock().unwrap();
    if let Some(shown) = form.get("refresh_token") {
        if shared.one_use && *shown != format!("refresh-{}", state.newest) {
            state.shown_again.push(shown.clone());
            return (StatusCode::BAD_REQUEST, json!({"error": "invalid_grant"}));
        }
        state.redeemed += 1;
    }
    state.newest += 1;
    let token = shared
        .tokens
        .lock()
        .unwrap()
        .pop()
        .expect("a token is left");
    let answer = json!({
        "access_token": token, "refresh_token": format!("refresh-{}", state.newest),
        "expires_in": state.lifetime, "scope": "offline_access", "token_type": "Bearer",
    });
    (StatusCode::OK, answer)
}
