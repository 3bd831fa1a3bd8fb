//! Causes of failed TLS handshakes with upstreams.

use std::io;

use rustls::CertificateError;
use rustls_pki_types::ServerName;

use crate::config::Endpoint;
use crate::fault::{Fault, Kind};

/// Returns the name that the endpoint's certificate must contain.
pub fn server_name(endpoint: &Endpoint) -> Result<ServerName<'static>, Fault> {
    ServerName::try_from(endpoint.host.clone()).map_err(|_| {
        Fault::new(
            Kind::Unreachable,
            format!("{} is not a host name", endpoint.host),
        )
        .with_remedy("correct the provider's host")
    })
}

/// Builds the fault of a failed handshake with an upstream.
pub fn upstream_fault(endpoint: &Endpoint, error: &io::Error) -> Fault {
    let host = &endpoint.host;
    let tls = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<rustls::Error>());
    let shown = format!("the certificate that {host} presents");
    let (detail, remedy) = match tls {
        Some(rustls::Error::InvalidCertificate(why)) => match why {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                (
                    format!("{shown} is for another name"),
                    "correct the provider's host, or find out what intercepts the connection",
                )
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
                format!("{shown} has expired"),
                "check this machine's clock, or find out what intercepts the connection",
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
                format!("{shown} is not valid yet"),
                "check this machine's clock",
            ),
            // A bad signature: a trusted authority has the issuer's name but another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => (
                format!("{shown} is from an authority that is not trusted"),
                "if TLS inspection is in between, set its CA as the provider's ca",
            ),
            other => (
                format!("{shown} is not valid: {other}"),
                "look at it with openssl s_client, and find out what intercepts the connection",
            ),
        },
        Some(rustls::Error::InvalidMessage(_)) => (
            format!("{host} does not answer with TLS"),
            "check the provider's port, and whether its tls is implicit or starttls",
        ),
        Some(other) => (
            format!("the TLS handshake with {host} failed: {other}"),
            "find out what intercepts the connection",
        ),
        None => (
            format!("the TLS handshake with {host} failed: {error}"),
            "check that the firewall lets this host out to that port, and the provider's tls",
        ),
    };
    Fault::new(Kind::Unreachable, detail).with_remedy(remedy)
}
