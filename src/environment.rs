//! Hints from the environment when a server cannot be reached: proxies and certificate authorities.
//!
//! The machine may require a proxy, or trust authorities of its own. authrelay does not follow such
//! settings, since only the configuration may decide where tokens are sent; a fault's remedy names
//! the key to set.

use std::path::{Path, PathBuf};

use crate::config::Provider;
use crate::fault::{Fault, Kind};

/// Environment variables for proxies.
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Bundles of trusted authorities: Debian, Red Hat, SUSE, Alpine.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Words of details that tell of a failed connection, rather than of the server's reply.
const NO_WAY: [&str; 6] = [
    "resolve",
    "connect",
    "in time",
    "no answer",
    "cannot be used",
    "no TLS with",
];

/// Adds a hint to the fault's remedy, if one applies.
pub fn hinted(fault: Fault, provider: &Provider) -> Fault {
    if !matches!(fault.kind(), Kind::Unreachable | Kind::Unavailable) {
        return fault;
    }
    let name = &provider.name;
    let detail = fault.detail();
    let says = |words: &[&str]| words.iter().any(|word| detail.contains(word));
    let untrusted = says(&["not trusted", "UnknownIssuer", "BadSignature"]);
    let hint = if untrusted && provider.ca.0.is_empty() {
        bundle().map(|bundle| {
            format!(
                "this machine's own store of authorities is not used: if it has that CA, set providers.{name}.ca to its PEM file (the store: {})",
                bundle.display()
            )
        })
    } else if !untrusted && provider.egress.is_none() && says(&NO_WAY) {
        proxy().map(|(variable, proxy)| {
            format!(
                "{variable} is set and is not followed: if {proxy} is this network's way out, set providers.{name}.egress: {{url: {proxy}}}"
            )
        })
    } else {
        None
    };
    let Some(hint) = hint else {
        return fault;
    };
    let remedy = match fault.remedy() {
        Some(remedy) => format!("{hint}; {remedy}"),
        None => hint,
    };
    fault.with_remedy(remedy)
}

/// Returns the proxy of the environment, without credentials.
fn proxy() -> Option<(&'static str, String)> {
    PROXIES.iter().find_map(|variable| {
        let value = std::env::var(variable).ok()?;
        Some((*variable, without_credentials(&value)?))
    })
}

/// Returns `http://host:port` of a proxy's URL.
fn without_credentials(value: &str) -> Option<String> {
    let value = value.trim();
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    (!host.is_empty()).then(|| format!("{scheme}://{host}"))
}

/// Finds the file of authorities that this machine trusts.
fn bundle() -> Option<PathBuf> {
    let given = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .iter()
        .find_map(|variable| std::env::var_os(variable).filter(|value| !value.is_empty()));
    match given {
        Some(given) => Some(PathBuf::from(given)),
        None => BUNDLES
            .iter()
            .map(Path::new)
            .find(|path| path.exists())
            .map(Path::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_shown_without_credentials() {
        for (value, expected) in [
            ("http://proxy:3128", Some("http://proxy:3128")),
            ("http://user:pw@proxy:3128/", Some("http://proxy:3128")),
            ("proxy:3128", Some("http://proxy:3128")),
            ("socks5://u:p@[::1]:1080", Some("socks5://[::1]:1080")),
            ("", None),
            (" ", None),
        ] {
            assert_eq!(without_credentials(value).as_deref(), expected, "{value}");
        }
    }
}
