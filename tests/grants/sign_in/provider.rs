//! An identity provider that answers as its script says. The browser's part, and the authorization
//! endpoint's, are the test's: a code is the nonce and the PKCE challenge of the request.

use std::sync::{Arc, Mutex};

use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use std::collections::HashMap;

pub const CLIENT: &str = "relay";
pub const SECRET: &str = "s3cret-of-the-relay-at-the-provider";

/// How ID tokens are signed.
#[derive(Clone, Copy, PartialEq)]
pub enum Signed {
    /// By the provider's key.
    Well,
    /// Not at all: `alg: none`.
    Not,
    /// By the client secret: `alg: HS256`.
    BySecret,
    /// By a key of somebody else's, under the provider's key id.
    ByAnother,
}

/// What the provider says.
pub struct Script {
    /// Claims that are added to the ID token or replace its own; null: left out.
    pub claims: Value,
    pub signed: Signed,
    /// Key id in the ID token's header.
    pub kid: String,
    /// Key ids that are published.
    pub published: Vec<String>,
    /// Answer of the token endpoint instead of tokens.
    pub refusal: Option<(u16, Value)>,
    /// Claims of the UserInfo endpoint.
    pub info: Option<Value>,
    /// Discovery and token endpoint do not answer at all.
    pub silent: bool,
    /// Issuer of the discovery document, if it is another.
    pub issuer: Option<String>,
    /// Access token of every answer.
    pub access_token: String,
    pub asked_for_keys: usize,
    pub asked_for_tokens: usize,
}

pub struct Provider {
    pub url: String,
    pub script: Arc<Mutex<Script>>,
}

#[derive(Clone)]
struct Shared {
    url: String,
    script: Arc<Mutex<Script>>,
    key: Arc<EncodingKey>,
    other: Arc<EncodingKey>,
    jwk: Arc<Value>,
}

fn key() -> (EncodingKey, Value) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let point = rcgen::PublicKeyData::der_bytes(&pair).to_vec();
    let coordinate = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256",
        "x": coordinate(1..33), "y": coordinate(33..65),
    });
    let pem = pair.serialize_pem();
    (EncodingKey::from_ec_pem(pem.as_bytes()).unwrap(), jwk)
}

impl Provider {
    pub async fn start() -> Self {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script {
            claims: json!({}),
            signed: Signed::Well,
            kid: "one".into(),
            published: vec!["one".into()],
            refusal: None,
            info: None,
            silent: false,
            issuer: None,
            access_token: "opaque".into(),
            asked_for_keys: 0,
            asked_for_tokens: 0,
        }));
        let ((key, jwk), (other, _)) = (key(), key());
        let shared = Shared {
            url: url.clone(),
            script: script.clone(),
            key: Arc::new(key),
            other: Arc::new(other),
            jwk: Arc::new(jwk),
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route("/userinfo", get(info))
            .with_state(shared);
        tokio::spawn(async move { axum::serve(socket, router).await });
        Self { url, script }
    }

    /// Changes what it says.
    pub fn says(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }
}

async fn wait_if_silent(shared: &Shared) {
    if shared.script.lock().unwrap().silent {
        std::future::pending::<()>().await;
    }
}

async fn discovery(State(shared): State<Shared>) -> Json<Value> {
    wait_if_silent(&shared).await;
    let url = &shared.url;
    let script = shared.script.lock().unwrap();
    Json(json!({
        "issuer": script.issuer.as_ref().unwrap_or(url),
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "userinfo_endpoint": format!("{url}/userinfo"),
        "jwks_uri": format!("{url}/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        // It would say that it signs by the client secret.
        "id_token_signing_alg_values_supported": ["ES256", "HS256", "none"],
    }))
}

async fn keys(State(shared): State<Shared>) -> Json<Value> {
    let mut script = shared.script.lock().unwrap();
    script.asked_for_keys += 1;
    let published = script.published.iter().map(|kid| {
        let mut jwk = (*shared.jwk).clone();
        jwk["kid"] = json!(kid);
        jwk
    });
    Json(json!({"keys": published.collect::<Vec<_>>()}))
}

async fn info(State(shared): State<Shared>) -> Response {
    match &shared.script.lock().unwrap().info {
        Some(claims) => Json(claims.clone()).into_response(),
        None => StatusCode::FORBIDDEN.into_response(),
    }
}

async fn token(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    wait_if_silent(&shared).await;
    let mut script = shared.script.lock().unwrap();
    script.asked_for_tokens += 1;
    if let Some((status, answer)) = &script.refusal {
        return (StatusCode::from_u16(*status).unwrap(), Json(answer.clone())).into_response();
    }
    let basic = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{SECRET}")));
    assert_eq!(headers["authorization"], basic);
    let (nonce, challenge) = form["code"].split_once('.').unwrap();
    let verifier = form["code_verifier"].as_bytes();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier);
    assert_eq!(URL_SAFE_NO_PAD.encode(digest), challenge);
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({
        "iss": shared.url, "aud": CLIENT, "sub": "subject-1", "nonce": nonce,
        "iat": now, "exp": now + 600,
    });
    for (name, value) in script.claims.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    let id_token = sign(&script, &shared, &claims);
    Json(json!({
        "access_token": script.access_token, "token_type": "Bearer", "expires_in": 600,
        "id_token": id_token,
    }))
    .into_response()
}

fn sign(script: &Script, shared: &Shared, claims: &Value) -> String {
    let header = |algorithm| Header {
        kid: Some(script.kid.clone()),
        ..Header::new(algorithm)
    };
    let es256 = header(Algorithm::ES256);
    match script.signed {
        Signed::Well => jsonwebtoken::encode(&es256, claims, &shared.key).unwrap(),
        Signed::ByAnother => jsonwebtoken::encode(&es256, claims, &shared.other).unwrap(),
        Signed::BySecret => {
            let key = EncodingKey::from_secret(SECRET.as_bytes());
            jsonwebtoken::encode(&header(Algorithm::HS256), claims, &key).unwrap()
        }
        Signed::Not => {
            let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            format!("{}.{}.", part(&json!({"alg": "none"})), part(claims))
        }
    }
}
