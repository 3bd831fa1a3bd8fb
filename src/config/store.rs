//! Settings of `state.store`: the server that several relays share.

use std::sync::Arc;

use crate::secret::Secret;

/// A Redis or Valkey server, or the Sentinels that monitor it.
#[derive(Debug)]
pub struct SharedStore {
    /// URL as written, to detect a change.
    pub url: Secret,
    /// Hosts and ports of the server or the Sentinels.
    pub servers: Vec<(String, u16)>,
    /// Name of the master, with Sentinels.
    pub master: Option<String>,
    /// User name, if the server requires one.
    pub username: Option<String>,
    /// Password, if the server requires one.
    pub password: Option<Secret>,
    /// Number of the database.
    pub database: i64,
    /// TLS configuration; `None` without TLS.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

impl SharedStore {
    /// Address of the store, without secrets.
    pub fn address(&self) -> String {
        let servers: Vec<String> = self
            .servers
            .iter()
            .map(|(host, port)| format!("{host}:{port}"))
            .collect();
        match &self.master {
            Some(master) => format!("{master} by the Sentinels {}", servers.join(", ")),
            None => servers.join(", "),
        }
    }
}
