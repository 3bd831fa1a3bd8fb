//! Reads `state.store`: the server that several relays share.

use std::sync::Arc;

use super::field::Field;
use super::key::section;
use super::value::{Certificates, HostPort};
use crate::secret::Secret;
use crate::tls;

section! {
    /// `state.store` of several relays.
    pub(super) struct SharedStoreKeys {
        /// `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, with TLS `rediss://`; behind Sentinel `redis+sentinel://[USER:PASSWORD@]HOST[:PORT],…/MASTER[/DB]` or `rediss+sentinel://`: user and password are the servers'
        url: Secret => "redis://HOST:PORT, rediss://HOST:PORT or a Sentinel's",
        /// With TLS: PEM files of authorities that are trusted in addition to the public roots
        ca: Option<Certificates>,
        /// Allows a server that is not on loopback without TLS. Password, names and the (encrypted) records cross the network in clear
        insecure: bool = "false",
    }
}

/// A Redis or Valkey server, or the Sentinels that monitor it.
#[derive(Debug)]
pub struct SharedStore {
    /// URL as written, to detect a change.
    pub url: Secret,
    /// The server, or the Sentinels.
    pub servers: Vec<HostPort>,
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

impl SharedStoreKeys {
    /// Parses the URL, and builds the TLS configuration. `Some(None)` if secrets are not read.
    pub(super) fn build(self, field: &Field) -> Option<Option<Arc<SharedStore>>> {
        if self.url.expose().trim().is_empty() && !field.sources().are_read() {
            return Some(None);
        }
        let at = field.at("url");
        let (mut store, with_tls) = at.accept(SharedStore::parse(&self.url))?;
        if !with_tls && !self.insecure && !store.servers.iter().all(HostPort::is_loopback) {
            let with = match store.master {
                Some(_) => "rediss+sentinel",
                None => "rediss",
            };
            at.problem(format_args!(
                "would cross the network without TLS: use {with}://, or set insecure: true on a network of your own"
            ));
        }
        if with_tls {
            let authorities = self.ca.unwrap_or_default();
            let tls = field.at("ca").accept(tls::client(&authorities.0))?;
            store.tls = Some(Arc::new(tls));
        } else {
            field.reject_key("ca", "has no effect without TLS (rediss://); remove it");
        }
        Some(Some(Arc::new(store)))
    }
}

impl SharedStore {
    /// Address of the store, without secrets.
    pub fn address(&self) -> String {
        let servers: Vec<String> = self.servers.iter().map(HostPort::to_string).collect();
        match &self.master {
            Some(master) => format!("{master} by the Sentinels {}", servers.join(", ")),
            None => servers.join(", "),
        }
    }

    /// Parses the URL, and returns whether it asks for TLS. `url::Url` does not support lists of
    /// hosts.
    fn parse(url: &Secret) -> Result<(Self, bool), &'static str> {
        const FORM: &str = "must be redis://HOST:PORT, rediss://HOST:PORT, or redis+sentinel://HOST:PORT,…/MASTER or rediss+sentinel://…";
        let text = url.expose().trim();
        let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
        // The last is the default port of Redis or Sentinel.
        let (tls, sentinel, port) = match scheme {
            "redis" => (false, false, 6379),
            "rediss" => (true, false, 6379),
            "redis+sentinel" => (false, true, 26379),
            "rediss+sentinel" => (true, true, 26379),
            _ => return Err(FORM),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (username, password) = login.split_once(':').unwrap_or(("", login));
        let given = |text: &str| (!text.is_empty()).then(|| decoded(text)).transpose();
        let servers = hosts
            .split(',')
            .map(|host| HostPort::from_text(host, Some(port)))
            .collect::<Option<Vec<_>>>()
            .ok_or("must name each server as HOST or HOST:PORT")?;
        if servers.len() > 1 && !sentinel {
            return Err("names several servers; only Sentinels may be several (redis+sentinel://)");
        }
        let mut path = path.split('/').filter(|part| !part.is_empty());
        let no_master = "must end with the master's name, as in redis+sentinel://HOST/mymaster";
        let master = sentinel.then(|| path.next().ok_or(no_master)).transpose()?;
        let database = match path.next() {
            Some(number) => number.parse().ok().filter(|number| *number >= 0),
            None => Some(0),
        };
        if path.next().is_some() || text.contains(['?', '#']) {
            return Err("has something after the number of the database");
        }
        let store = Self {
            servers,
            master: master.map(str::to_owned),
            username: given(username)?,
            password: given(password)?.map(Secret::from),
            database: database.ok_or("may end only with the number of a database")?,
            tls: None,
            url: url.clone(),
        };
        Ok((store, tls))
    }
}

fn decoded(text: &str) -> Result<String, &'static str> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    decoded
        .map(|text| text.into_owned())
        .map_err(|_| "has a user or password that is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<(SharedStore, bool), &'static str> {
        SharedStore::parse(&Secret::from(url))
    }

    #[test]
    fn urls_are_taken_apart() {
        let (parts, tls) = parse("redis://127.0.0.1").unwrap();
        assert_eq!(parts.address(), "127.0.0.1:6379");
        assert!(!tls && parts.master.is_none() && parts.password.is_none());
        let (parts, tls) = parse("rediss://user:p%40ss@redis.test:7000/3").unwrap();
        assert_eq!(parts.address(), "redis.test:7000");
        assert_eq!(
            (
                parts.username.as_deref(),
                parts.password.as_ref().map(Secret::expose)
            ),
            (Some("user"), Some("p@ss"))
        );
        assert!(tls);
        assert_eq!(parts.database, 3);
        let (parts, _) = parse("redis+sentinel://:pw@a,b:1,[::1]:2,[::1]/mymaster/1").unwrap();
        assert_eq!(
            parts.address(),
            "mymaster by the Sentinels a:26379, b:1, [::1]:2, [::1]:26379"
        );
        assert_eq!(
            (parts.master.as_deref(), parts.database),
            (Some("mymaster"), 1)
        );
        assert_eq!(
            (parts.username, parts.password.as_ref().map(Secret::expose)),
            (None, Some("pw"))
        );
        for wrong in [
            "http://a",
            "a:6379",
            "redis://",
            "redis://a,b",
            "redis://a/x",
            "redis://a/-1",
            "redis://a/1/2",
            "redis+sentinel://a",
            "redis://a:0",
            "redis://a:99999",
            "redis://a?x=1",
            "redis://[::1",
            "redis://a b",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
