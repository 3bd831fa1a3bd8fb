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
            format!("{} is no host name", endpoint.host),
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
    let fault = |detail: String| Fault::new(Kind::Unreachable, detail);
    match tls {
        Some(rustls::Error::InvalidCertificate(why)) => match why {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                fault(format!(
                    "the certificate that {host} shows is for another name"
                ))
                .with_remedy(
                    "correct the provider's host, or look for what intercepts the connection",
                )
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => fault(format!(
                "the certificate that {host} shows has expired"
            ))
            .with_remedy("check this machine's clock, or look for what intercepts the connection"),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => fault(
                format!("the certificate that {host} shows is not valid yet"),
            )
            .with_remedy("check this machine's clock"),
            // A bad signature: a trusted authority has the issuer's name but another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => fault(format!(
                "the certificate that {host} shows is from an authority that is not trusted"
            ))
            .with_remedy("if a TLS inspection is in between, give its CA as the provider's ca"),
            other => fault(format!(
                "the certificate that {host} shows is not valid: {other}"
            ))
            .with_remedy(
                "look at it with openssl s_client, and for what intercepts the connection",
            ),
        },
        Some(rustls::Error::InvalidMessage(_)) => fault(format!("{host} does not answer with TLS"))
            .with_remedy("check the provider's port, and whether its tls is implicit or starttls"),
        Some(other) => fault(format!("no TLS with {host}: {other}"))
            .with_remedy("look for what intercepts the connection"),
        None => fault(format!("no TLS with {host}: {error}")).with_remedy(
            "check that the firewall lets this host out to that port, and the provider's tls",
        ),
    }
}
