//! Causes of failed TLS handshakes with clients: what the client offered, and how to fix it.

use std::io;

use rustls::PeerIncompatible;

use super::proxy_protocol;
use crate::config::{Listener, ListenerTls};
use crate::fault::{Fault, Kind};
use crate::tls::ClientHello;

/// Builds the fault of a failed handshake with a client whose first octets were `first`. `None`: an
/// HTTP probe.
pub fn client_fault(error: &io::Error, first: &[u8]) -> Option<Fault> {
    if proxy_protocol::begins_with_header(first) {
        return Some(proxy_protocol::unexpected());
    }
    if is_http(first) {
        return None;
    }
    let tls = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<rustls::Error>());
    let (detail, remedy) = match tls {
        Some(rustls::Error::NoCertificatesPresented) => (
            "the client presents no certificate, but the listener requires one".to_owned(),
            "give the application a certificate issued by an authority in the listener's tls.client_ca",
        ),
        Some(rustls::Error::InvalidCertificate(why)) => (
            format!("the certificate that the client presents is not valid: {why}"),
            "give the application a certificate issued by an authority in the listener's tls.client_ca, valid for client authentication and not expired",
        ),
        Some(rustls::Error::AlertReceived(alert)) => (
            format!("the client ended the TLS handshake: {alert:?}"),
            "make the application trust the listener's certificate: check its authority, its names and its dates",
        ),
        Some(
            rustls::Error::PeerIncompatible(_)
            | rustls::Error::PeerMisbehaved(_)
            | rustls::Error::InvalidMessage(_),
        ) => return Some(unusable_offer(error, first)),
        _ => (
            format!("the TLS handshake with the client failed: {error}"),
            "the application must speak TLS 1.2 or later here and trust the listener's certificate",
        ),
    };
    Some(Fault::new(Kind::Tls, detail).with_remedy(remedy))
}

/// Builds the fault of a connection that begins with a TLS handshake (RFC 8446 §5.1, or an SSL 2.0
/// hello) although `listener` does not. `None`: the octets are not TLS.
pub fn unexpected_tls(first: &[u8], listener: &Listener) -> Option<Fault> {
    if !matches!(first, [0x16, 3, ..] | [0x80..=0xff, _, 1, ..]) {
        return None;
    }
    let remedy = match listener.tls {
        ListenerTls::StartTls(_) => {
            "choose STARTTLS instead of SSL/TLS in the application, or give the listener tls: {mode: implicit}"
        }
        ListenerTls::None | ListenerTls::Implicit(_) => {
            "turn TLS off in the application, or give the listener tls: {mode: implicit}"
        }
    };
    let detail = "the client starts with TLS, but this listener begins in clear text";
    Some(Fault::new(Kind::StartTls, detail).with_remedy(remedy))
}

/// Describes a client's offer and why it cannot be used.
fn unusable_offer(error: &io::Error, first: &[u8]) -> Fault {
    const OLD_CLIENT_REMEDY: &str = "update the device, or let it speak in clear: a listener with tls: {mode: none}, \
                            allow_cleartext: true and allow for its address alone, or deploy/old-tls in front";
    let Some(hello) = ClientHello::parse(first) else {
        // An SSL 2.0 ClientHello: a length with its highest bit set, then the message type.
        if matches!(first, [0x80..=0xff, _, 1, ..]) {
            return Fault::new(
                Kind::Tls,
                "the client offers TLS in an SSL 2.0 hello, which is no longer accepted",
            )
            .with_remedy(OLD_CLIENT_REMEDY);
        }
        return Fault::new(
            Kind::Tls,
            format!("the client does not start with TLS, which this listener expects at once: {error}"),
        )
        .with_remedy("turn TLS (SSL/TLS, not STARTTLS) on in the application, or use a listener with tls: {mode: starttls} or none");
    };
    let why = match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::PeerIncompatible(why)) => Some(why),
        _ => None,
    };
    let (needed, remedy) = match (why, hello.needed_key()) {
        _ if !hello.has_usable_version() => {
            ("TLS 1.2 or later".to_owned(), OLD_CLIENT_REMEDY.to_owned())
        }
        (Some(PeerIncompatible::NoKxGroupsInCommon), _) => (
            "one of the key exchange groups X25519, P-256 and P-384".to_owned(),
            OLD_CLIENT_REMEDY.to_owned(),
        ),
        (
            Some(
                PeerIncompatible::NoSignatureSchemesInCommon
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
            ),
            _,
        ) => (
            "a signature algorithm with SHA-256 or better that fits the key of the listener's certificate"
                .to_owned(),
            format!("give the listener a certificate with an RSA key, or {OLD_CLIENT_REMEDY}"),
        ),
        (Some(PeerIncompatible::NoCipherSuitesInCommon), Some(key)) => (
            format!("a certificate of the listener with an {key} key"),
            format!("give the listener a certificate with an {key} key, or update the device"),
        ),
        _ => (
            "one of TLS 1.3's suites, or TLS 1.2 with ECDHE and AES-GCM or ChaCha20".to_owned(),
            OLD_CLIENT_REMEDY.to_owned(),
        ),
    };
    let offer = hello.describe();
    Fault::new(
        Kind::Tls,
        format!("the client offers {offer}, none of which can be used (required: {needed})"),
    )
    .with_remedy(remedy)
}

/// Whether a connection begins with an HTTP request (RFC 9112 §3), as a health check's does.
fn is_http(first: &[u8]) -> bool {
    let line = first.split(|octet| *octet == b'\n').next();
    let mut words = line.unwrap_or_default().split(|octet| *octet == b' ');
    let method = words.next().unwrap_or_default();
    let is_method = !method.is_empty() && method.iter().all(u8::is_ascii_uppercase);
    let is_request = match words.nth(1) {
        Some(version) => version.starts_with(b"HTTP/"),
        // HTTP/0.9
        None => method == b"GET",
    };
    is_method && is_request
}
