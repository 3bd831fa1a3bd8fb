//! A token endpoint that answers as a test says, and remembers what it was asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Form, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

pub type Asked = HashMap<String, String>;

/// An answer: status, headers, text.
#[derive(Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    text: String,
}

impl Answer {
    pub fn json(status: u16, json: &Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            text: json.to_string(),
        }
    }

    pub fn text(status: u16, text: &str) -> Self {
        Self {
            status,
            headers: Vec::new(),
            text: text.to_owned(),
        }
    }

    /// An OAuth error with Entra's code in its description, as Entra has it.
    pub fn entra(error: &str, code: u64) -> Self {
        Self::json(
            400,
            &json!({
                "error": error, "error_description": format!("AADSTS{code}: Something.\r\nTrace ID: x"),
                "error_codes": [code],
            }),
        )
    }

    pub fn body(&self) -> &str {
        &self.text
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

type Script = Box<dyn FnMut(&Asked) -> Answer + Send>;

/// Ends with the test's runtime.
pub struct Endpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Mutex<Script>,
    asked: Mutex<Vec<Asked>>,
    /// Held while answers are kept back.
    gate: Arc<tokio::sync::RwLock<()>>,
}

impl Endpoint {
    pub async fn start() -> Self {
        let shared = Arc::new(Shared {
            script: Mutex::new(Box::new(|_| Answer::text(500, "no script yet"))),
            asked: Mutex::default(),
            gate: Arc::default(),
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

    /// From now on it answers so.
    pub fn script(&self, script: impl FnMut(&Asked) -> Answer + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    pub fn always(&self, answer: Answer) {
        self.script(move |_| answer.clone());
    }

    /// Keeps answers back until what is returned is dropped. Requests are counted all the same.
    pub async fn hold(&self) -> tokio::sync::OwnedRwLockWriteGuard<()> {
        self.shared.gate.clone().write_owned().await
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.shared.asked.lock().unwrap().len()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, Form(form): Form<Asked>) -> Response {
    shared.asked.lock().unwrap().push(form.clone());
    let answer = (shared.script.lock().unwrap())(&form);
    drop(shared.gate.read().await);
    let status = StatusCode::from_u16(answer.status).unwrap();
    let mut response = (status, answer.text).into_response();
    for (name, value) in answer.headers {
        let value = HeaderValue::from_str(&value).unwrap();
        response
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }
    response
}
