//! Reads `state.store`.

use std::sync::Arc;

use super::super::field::Field;
use super::super::keys::SharedStoreKeys;
use super::super::sections::StateKey;
use super::super::store::SharedStore;
use crate::secret::Secret;
use crate::tls;

/// Default ports of Redis and Sentinel.
const PORTS: (u16, u16) = (6379, 26379);

/// Parts of a store URL; `url::Url` does not support lists of hosts.
struct Parts {
    sentinel: bool,
    tls: bool,
    servers: Vec<(String, u16)>,
    master: Option<String>,
    username: Option<String>,
    password: Option<String>,
    database: i64,
}

/// Reads the store that several relays share. `None` if it is wrong; `Some(None)` if secrets are
/// not read.
pub(super) fn shared(
    field: &Field,
    keys: SharedStoreKeys,
    (state, key): (&Field, Option<&StateKey>),
) -> Option<Option<Arc<SharedStore>>> {
    match key {
        None => state.missing("key", "the key that all relays with this store have"),
        Some(StateKey::File(path)) if field.sources().are_read() && !path.exists() => {
            let what = "names a file that is absent; with a shared store all relays have the same key, and none is made";
            state.at("key").problem(what);
        }
        Some(_) => {}
    }
    let text = keys.url.expose().trim();
    if text.is_empty() && !field.sources().are_read() {
        return Some(None);
    }
    let at = field.at("url");
    let parts = match parse(text) {
        Ok(parts) => parts,
        Err(why) => return at.reject(why),
    };
    let is_loopback = |(host, _): &(String, u16)| {
        let address = host.parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    };
    if !parts.tls && !keys.insecure && !parts.servers.iter().all(is_loopback) {
        let with = if parts.sentinel {
            "rediss+sentinel"
        } else {
            "rediss"
        };
        at.problem(format_args!(
            "would cross the network without TLS: use {with}://, or set insecure: true on a network of your own"
        ));
    }
    if !parts.tls && keys.ca.is_some() {
        field
            .at("ca")
            .problem("has no effect without TLS (rediss://); remove it");
    }
    let authorities = keys.ca.map(|ca| ca.0).unwrap_or_default();
    let tls = match parts.tls.then(|| tls::client(&authorities)).transpose() {
        Ok(tls) => tls.map(Arc::new),
        Err(error) => return field.at("ca").reject(error),
    };
    Some(Some(Arc::new(SharedStore {
        servers: parts.servers,
        master: parts.master,
        username: parts.username,
        password: parts.password.map(Secret::from),
        database: parts.database,
        tls,
        url: keys.url,
    })))
}

fn parse(text: &str) -> Result<Parts, &'static str> {
    const FORM: &str = "must be redis://HOST:PORT, rediss://HOST:PORT, or redis+sentinel://HOST:PORT,…/MASTER or rediss+sentinel://…";
    let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
    let (tls, sentinel) = match scheme {
        "redis" => (false, false),
        "rediss" => (true, false),
        "redis+sentinel" => (false, true),
        "rediss+sentinel" => (true, true),
        _ => return Err(FORM),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (login, hosts),
        None => ("", authority),
    };
    let (username, password) = match login.split_once(':') {
        Some((username, password)) => (username, password),
        None => ("", login),
    };
    let given = |text: &str| (!text.is_empty()).then(|| decoded(text)).transpose();
    let usual = if sentinel { PORTS.1 } else { PORTS.0 };
    let servers = hosts
        .split(',')
        .map(|host| server(host, usual))
        .collect::<Option<Vec<_>>>()
        .ok_or("must name each server as HOST or HOST:PORT")?;
    if servers.len() > 1 && !sentinel {
        return Err("names several servers; only Sentinels may be several (redis+sentinel://)");
    }
    let mut path = path.split('/').filter(|part| !part.is_empty());
    let master = match sentinel {
        true => Some(
            path.next()
                .ok_or("must end with the master's name, as in redis+sentinel://HOST/mymaster")?,
        ),
        false => None,
    };
    let database = match path.next() {
        Some(number) => number.parse().ok().filter(|number| *number >= 0),
        None => Some(0),
    };
    if path.next().is_some() || text.contains(['?', '#']) {
        return Err("has something after the number of the database");
    }
    Ok(Parts {
        sentinel,
        tls,
        servers,
        master: master.map(str::to_owned),
        username: given(username)?,
        password: given(password)?,
        database: database.ok_or("must end with the number of a database, if with anything")?,
    })
}

fn decoded(text: &str) -> Result<String, &'static str> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    decoded
        .map(|text| text.into_owned())
        .map_err(|_| "has a user or password that is not UTF-8")
}

/// Parses `HOST`, `HOST:PORT` or `[::1]:PORT`.
fn server(text: &str, usual: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (
                host,
                rest.strip_prefix(':').or(rest.is_empty().then_some(""))?,
            )
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let port = match port {
        "" => usual,
        port => port.parse().ok().filter(|port| *port != 0)?,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let parts = parse("redis://127.0.0.1").unwrap();
        assert_eq!(parts.servers, [("127.0.0.1".to_owned(), 6379)]);
        assert!(!parts.tls && parts.master.is_none() && parts.password.is_none());
        let parts = parse("rediss://user:p%40ss@redis.test:7000/3").unwrap();
        assert_eq!(parts.servers, [("redis.test".to_owned(), 7000)]);
        assert_eq!(
            (parts.username.as_deref(), parts.password.as_deref()),
            (Some("user"), Some("p@ss"))
        );
        assert!(parts.tls);
        assert_eq!(parts.database, 3);
        let parts = parse("redis+sentinel://:pw@a,b:1,[::1]:2/mymaster/1").unwrap();
        let servers =
            [("a", 26379), ("b", 1), ("::1", 2)].map(|(host, port)| (host.to_owned(), port));
        assert_eq!(parts.servers, servers);
        assert_eq!(
            (parts.master.as_deref(), parts.database),
            (Some("mymaster"), 1)
        );
        assert_eq!(
            (parts.username, parts.password.as_deref()),
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
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
