//! Client of the running relay's administrators' listener. The relay knows more than the store
//! (last login, last fault), and holds the port to which consents return.
//!
//! The admin token is sent only after the server has proved that it knows the token. With TLS only
//! the certificate in the configuration is accepted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::admin;
use crate::config::{Admin, Config};
use crate::secret::Secret;
use crate::tls;

/// Longest time for a relay on this machine to reply.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest time for a reload, which runs commands for secrets.
const RELOAD_PATIENCE: Duration = Duration::from_secs(120);

/// Octets that are read of a response before its sender has proved that it is the relay.
const SHORT: usize = 4 * 1024;

pub(super) struct RunningRelay {
    client: reqwest::Client,
    base: String,
    token: Secret,
}

/// Answer of the relay to a reload.
#[derive(serde::Deserialize)]
#[serde(untagged)]
pub(super) enum Reloaded {
    /// An [`admin::ReloadReport`].
    Done {
        listeners: usize,
        accounts: usize,
        sessions_ended: usize,
        restart: Vec<String>,
    },
    /// Problems of its configuration; nothing was changed.
    Refused { problems: Vec<String> },
}

/// Builds the client for the administrators' listener of this configuration, and its base URL: the
/// address that the listener has here, whatever `public_url` says and whoever has that address.
pub(super) fn client(admin: &Admin) -> Option<(reqwest::Client, String)> {
    let address = reachable(admin.bind);
    let (config, scheme) = match &admin.tls {
        // Names do not matter.
        Some(identity) => (tls::pinned(identity.chain.first()?.clone()).ok()?, "https"),
        None => (tls::client(&[]).ok()?, "http"),
    };
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy()
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none());
    Some((client.build().ok()?, format!("{scheme}://{address}")))
}

/// Reads the beginning of a response, which anyone may have sent.
pub(super) async fn short_text(mut response: reqwest::Response) -> reqwest::Result<String> {
    let mut octets = Vec::new();
    while octets.len() < SHORT
        && let Some(chunk) = response.chunk().await?
    {
        octets.extend_from_slice(&chunk);
    }
    octets.truncate(SHORT);
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

impl RunningRelay {
    /// Finds the running relay of this configuration, if one proves that it knows the token.
    pub(super) async fn find(config: &Config) -> Option<Self> {
        let admin = config.admin.as_ref()?;
        let token = admin::token(&admin.token).ok()?;
        let (client, base) = client(admin)?;
        let mut nonce = [0_u8; 32];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let nonce: String = nonce.iter().map(|octet| format!("{octet:02x}")).collect();
        let answer = client.get(format!("{base}/proof?nonce={nonce}")).send();
        let proof = Secret::from(short_text(answer.await.ok()?).await.ok()?);
        let expected = Secret::from(admin::proof(&token, &nonce));
        (proof == expected).then_some(Self {
            client,
            base,
            token,
        })
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(self.client.get(format!("{}{path}", self.base)))
            .await
    }

    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(self.client.post(format!("{}{path}", self.base)))
            .await
    }

    /// Makes the relay reload its configuration.
    pub(super) async fn reload(&self) -> anyhow::Result<Reloaded> {
        let request = self.client.post(format!("{}/api/reload", self.base));
        let (status, text) = self.send(request.timeout(RELOAD_PATIENCE)).await?;
        serde_json::from_str(&text).map_err(|_| complaint(status, &text))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> anyhow::Result<T> {
        let (status, text) = self.send(request).await?;
        match status.is_success() {
            true => Ok(serde_json::from_str(&text)?),
            false => Err(complaint(status, &text)),
        }
    }

    async fn send(
        &self,
        request: reqwest::RequestBuilder,
    ) -> anyhow::Result<(reqwest::StatusCode, String)> {
        let answer = request.bearer_auth(self.token.expose()).send().await?;
        Ok((answer.status(), answer.text().await?))
    }
}

/// Converts the relay's error response.
fn complaint(status: reqwest::StatusCode, text: &str) -> anyhow::Error {
    let json: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let said = |key: &str| json.get(key).and_then(serde_json::Value::as_str);
    match (said("error"), said("remedy")) {
        (Some(error), Some(remedy)) => anyhow::anyhow!("{error}: {remedy}"),
        (Some(error), None) => anyhow::anyhow!("{error}"),
        (None, _) => anyhow::anyhow!("the running relay answers {status}: {}", text.trim()),
    }
}

/// Address at which to reach a relay that listens on `bind`.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}
