//! Causes of failed TLS handshakes with clients: what the client offered, and how to fix it.

use std::io;

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
    let is_http = ["GET ", "HEAD ", "POST ", "OPTIONS ", "PUT "];
    if is_http
        .iter()
        .any(|verb| first.starts_with(verb.as_bytes()))
    {
        return None;
    }
    let tls = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<rustls::Error>());
    Some(match tls {
        Some(rustls::Error::NoCertificatesPresented) => Fault::new(
            Kind::Tls,
            "the client shows no certificate, which the listener requires",
        )
        .with_remedy("give the application a certificate of an authority in the listener's tls.client_ca"),
        Some(rustls::Error::InvalidCertificate(why)) => Fault::new(
            Kind::Tls,
            format!("the certificate that the client shows is not valid: {why}"),
        )
        .with_remedy("give the application a certificate of an authority in the listener's tls.client_ca, good for client authentication and not expired"),
        Some(rustls::Error::AlertReceived(alert)) => Fault::new(
            Kind::Tls,
            format!("the client ended the TLS handshake: {alert:?}"),
        )
        .with_remedy("make the application trust the listener's certificate: its authority, its name, its date"),
        Some(
            rustls::Error::PeerIncompatible(_)
            | rustls::Error::PeerMisbehaved(_)
            | rustls::Error::InvalidMessage(_),
        ) => unusable_offer(error, first),
        _ => Fault::new(Kind::Tls, format!("no TLS with the client: {error}"))
            .with_remedy("the application must speak TLS 1.2 or later here and trust the listener's certificate"),
    })
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
    let detail = "the client begins with TLS, which the listener does not speak at once";
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
                "the client offers TLS by an SSL 2.0 hello, which nothing takes any more",
            )
            .with_remedy(OLD_CLIENT_REMEDY);
        }
        return Fault::new(
            Kind::Tls,
            format!("the client does not begin with TLS, which this listener speaks at once: {error}"),
        )
        .with_remedy("turn TLS (SSL/TLS, not STARTTLS) on in the application, or use a listener with tls: {mode: starttls} or none");
    };
    let needed = match hello.has_usable_version() {
        true => "needed is one of TLS 1.3's suites, or TLS 1.2 with ECDHE and AES-GCM or ChaCha20",
        false => "needed is TLS 1.2 or later",
    };
    let offer = hello.describe();
    Fault::new(
        Kind::Tls,
        format!("the client offers {offer}: nothing of it can be used ({needed})"),
    )
    .with_remedy(OLD_CLIENT_REMEDY)
}
