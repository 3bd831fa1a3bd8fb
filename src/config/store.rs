//! `state.store`: the server that several relays share.

use std::sync::Arc;

use crate::secret::Secret;

/// A Redis or Valkey server, or the Sentinels that know it.
#[derive(Debug)]
pub struct SharedStore {
    /// The URL as it was written, to see another one.
    pub url: Secret,
    /// The server's host and port, or the Sentinels'.
    pub servers: Vec<(String, u16)>,
    /// The master's name, where these are Sentinels.
    pub master: Option<String>,
    /// User name for the server, if it asks for one.
    pub username: Option<String>,
    /// Password for the server, if it asks for one.
    pub password: Option<Secret>,
    /// Number of the database on the server.
    pub database: i64,
    /// How TLS is spoken, if it is.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

impl SharedStore {
    /// Where it is, without what is secret.
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
