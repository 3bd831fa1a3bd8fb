//! The relay that is running, asked by its administrators' listener: it knows what the store does
//! not (the last login, the last fault), and it holds the port that consents come back to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::admin;
use crate::config::Config;
use crate::net::tls;
use crate::secret::Secret;

/// How long a relay on this machine may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Running {
    client: reqwest::Client,
    base: String,
    token: Secret,
}

impl Running {
    /// The relay of this configuration, if it answers.
    pub(super) async fn find(config: &Config) -> Option<Self> {
        let admin = config.admin.as_ref()?;
        let token = admin::token(admin).ok()?;
        let host = admin.public_url.host_str()?.to_owned();
        let address = reachable(admin.bind);
        // The authority of the certificate that it shows is known: it is in the same file.
        let (authorities, base) = match &admin.tls {
            Some(identity) => (
                identity.chain.get(1..).unwrap_or_default(),
                format!("https://{host}:{}", address.port()),
            ),
            None => (&[][..], format!("http://{address}")),
        };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client(authorities).ok()?)
            .no_proxy()
            .timeout(PATIENCE)
            .resolve(&host, address);
        let running = Self {
            client: client.build().ok()?,
            base,
            token,
        };
        let alive = running.client.get(format!("{}/livez", running.base)).send();
        alive.await.ok()?.status().is_success().then_some(running)
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(self.client.get(format!("{}{path}", self.base)))
            .await
    }

    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(self.client.post(format!("{}{path}", self.base)))
            .await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> anyhow::Result<T> {
        let answer = request.bearer_auth(self.token.expose()).send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.json().await?);
        }
        let text = answer.text().await?;
        let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let said = |key: &str| json.get(key).and_then(serde_json::Value::as_str);
        match (said("error"), said("remedy")) {
            (Some(error), Some(remedy)) => anyhow::bail!("{error}: {remedy}"),
            (Some(error), None) => anyhow::bail!("{error}"),
            (None, _) => anyhow::bail!("the running relay answers {status}: {}", text.trim()),
        }
    }
}

/// Where to ask a relay that listens on `bind`.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}
