//! TLS configurations, and TLS errors in words.
//!
//! Towards upstreams: TLS 1.2 or later, public roots and the provider's own, the host's name
//! verified; there is no switch that turns any of it off.

mod pinned;

use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{
    CertificateError, CipherSuite, ClientConfig, PeerMisbehaved, RootCertStore, ServerConfig,
    SupportedCipherSuite,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::client_hello::ClientHello;
use super::proxy_protocol;
use crate::config::{Endpoint, ServerCertificate};
use crate::fault::{Fault, Kind};
pub use pinned::pinned;

/// Sessions remembered for resumption, by host.
const RESUMABLE: usize = 256;

/// AES-128-GCM first, as browsers have it: it protects as well as one can ask for, and SHA-256
/// and the shorter key schedule make a handshake and a bulk transfer cheaper.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let is_tls12 = |suite: &SupportedCipherSuite| suite.tls13().is_none();
    let is_aes128 = |suite: &SupportedCipherSuite| {
        matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    };
    provider
        .cipher_suites
        .sort_by_key(|suite| (is_tls12(suite), !is_aes128(suite)));
    provider
}

/// What a provider's upstreams and token endpoint are verified with.
pub fn client(extra: &[CertificateDer<'static>]) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    for certificate in extra {
        roots.add(certificate.clone())?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(RESUMABLE);
    Ok(config)
}

/// What a listener shows, and whom it asks for a certificate.
pub fn server(identity: &ServerCertificate) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()?;
    let builder = match &identity.client_ca {
        None => builder.with_no_client_auth(),
        Some(authorities) => builder.with_client_cert_verifier(client_verifier(authorities)?),
    };
    let mut config = builder.with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    // Of this configuration alone: a session from before it was replaced is not resumed, so that
    // every client's certificate was verified by the authorities of today.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

/// Takes clients with a certificate of one of these authorities, and no others.
pub fn client_verifier(
    authorities: &[CertificateDer<'static>],
) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone())?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()))
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))
}

/// Whether a key is that of the certificate that a chain begins with.
pub fn belong_together(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> bool {
    rustls::sign::CertifiedKey::from_der(chain, key, &provider()).is_ok()
}

/// The fault behind a handshake with a client that failed, whose first octets were `first`. `None`:
/// a probe that speaks HTTP.
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
        .remedy_is("give the application a certificate of an authority in the listener's tls.client_ca"),
        Some(rustls::Error::InvalidCertificate(why)) => Fault::new(
            Kind::Tls,
            format!("the certificate that the client shows is not valid: {why}"),
        )
        .remedy_is("give the application a certificate of an authority in the listener's tls.client_ca, good for client authentication and not expired"),
        Some(rustls::Error::AlertReceived(alert)) => Fault::new(
            Kind::Tls,
            format!("the client ended the TLS handshake: {alert:?}"),
        )
        .remedy_is("make the application trust the listener's certificate: its authority, its name, its date"),
        Some(
            rustls::Error::PeerIncompatible(_)
            | rustls::Error::PeerMisbehaved(_)
            | rustls::Error::InvalidMessage(_),
        ) => unusable_offer(error, first),
        _ => Fault::new(Kind::Tls, format!("no TLS with the client: {error}"))
            .remedy_is("the application must speak TLS 1.2 or later here and trust the listener's certificate"),
    })
}

/// What a client offered, and why nothing of it can be used.
fn unusable_offer(error: &io::Error, first: &[u8]) -> Fault {
    const OLD_CLIENT_REMEDY: &str = "update the device, or let it speak in clear: a listener with tls: {mode: none}, \
                            allow_cleartext: true and allow for its address alone, or deploy/old-tls in front";
    let Some(hello) = ClientHello::parse(first) else {
        // An SSL 2.0 ClientHello: a length with the highest bit set, then its type.
        if matches!(first, [0x80..=0xff, _, 1, ..]) {
            return Fault::new(
                Kind::Tls,
                "the client offers TLS by an SSL 2.0 hello, which nothing takes any more",
            )
            .remedy_is(OLD_CLIENT_REMEDY);
        }
        return Fault::new(
            Kind::Tls,
            format!("the client does not begin with TLS, which this listener speaks at once: {error}"),
        )
        .remedy_is("turn TLS (SSL/TLS, not STARTTLS) on in the application, or use a listener with tls: {mode: starttls} or none");
    };
    if matches!(
        error.get_ref().and_then(|error| error.downcast_ref()),
        Some(rustls::Error::PeerMisbehaved(
            PeerMisbehaved::ServerNameMustContainOneHostName
        ))
    ) {
        let name = hello.name.unwrap_or_default();
        return Fault::new(
            Kind::Tls,
            format!("the client asks for the server name \"{}\", which is no host name", name.escape_ascii()),
        )
        .remedy_is("give the application this relay's host name or IP address as its server, without blanks or brackets");
    }
    let needed = match hello.has_usable_version() {
        true => "needed is one of TLS 1.3's suites, or TLS 1.2 with ECDHE and AES-GCM or ChaCha20",
        false => "needed is TLS 1.2 or later",
    };
    let offer = hello.describe();
    Fault::new(
        Kind::Tls,
        format!("the client offers {offer}: nothing of it can be used ({needed})"),
    )
    .remedy_is(OLD_CLIENT_REMEDY)
}

/// The name that the endpoint's certificate must bear.
pub fn name(endpoint: &Endpoint) -> Result<ServerName<'static>, Fault> {
    ServerName::try_from(endpoint.host.clone()).map_err(|_| {
        Fault::new(
            Kind::Unreachable,
            format!("{} is no host name", endpoint.host),
        )
        .remedy_is("correct the provider's host")
    })
}

/// The fault behind a handshake with an upstream that failed.
pub fn upstream_fault(endpoint: &Endpoint, error: &io::Error) -> Fault {
    let host = &endpoint.host;
    let tls = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<rustls::Error>());
    let fault = |detail: String| Fault::new(Kind::Unreachable, detail);
    match tls {
        Some(rustls::Error::InvalidCertificate(why)) => match why {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                fault(format!(
                    "the certificate that {host} shows is for another name"
                ))
                .remedy_is(
                    "correct the provider's host, or look for what intercepts the connection",
                )
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => fault(format!(
                "the certificate that {host} shows has expired"
            ))
            .remedy_is("check this machine's clock, or look for what intercepts the connection"),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => fault(
                format!("the certificate that {host} shows is not valid yet"),
            )
            .remedy_is("check this machine's clock"),
            // A bad signature: one of the trusted authorities has the issuer's name, not its key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => fault(format!(
                "the certificate that {host} shows is from an authority that is not trusted"
            ))
            .remedy_is("where a TLS inspection stands between, give its CA as the provider's ca"),
            other => fault(format!(
                "the certificate that {host} shows is not valid: {other}"
            ))
            .remedy_is("look at it with openssl s_client, and for what intercepts the connection"),
        },
        Some(rustls::Error::InvalidMessage(_)) => fault(format!("{host} does not answer with TLS"))
            .remedy_is("check the provider's port, and whether its tls is implicit or starttls"),
        Some(other) => fault(format!("no TLS with {host}: {other}"))
            .remedy_is("look for what intercepts the connection"),
        None => fault(format!("no TLS with {host}: {error}")).remedy_is(
            "check that the firewall lets this host out to that port, and the provider's tls",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_suites_are_offered_and_the_cheapest_first() {
        let config = client(&[]).unwrap();
        let offered: Vec<_> = config
            .crypto_provider()
            .cipher_suites
            .iter()
            .map(SupportedCipherSuite::suite)
            .collect();
        assert_eq!(
            offered[..4],
            [
                CipherSuite::TLS13_AES_128_GCM_SHA256,
                CipherSuite::TLS13_AES_256_GCM_SHA384,
                CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
                CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            ]
        );
        assert_eq!(
            offered.len(),
            aws_lc_rs::default_provider().cipher_suites.len()
        );
    }
}
