//! TLS configurations of both sides.

use std::sync::{Arc, LazyLock};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CipherSuite, ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::transcript;

/// Maximum number of sessions remembered for resumption.
const RESUMABLE: usize = 256;

/// Builds the cryptography provider. AES-128-GCM comes first, as in browsers: its protection is
/// sufficient, and SHA-256 and the shorter key schedule make handshakes and bulk transfers cheaper.
pub(super) fn provider() -> CryptoProvider {
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

/// Builds the provider of listeners, whose ClientHellos may have been changed for rustls to read.
fn listener_provider() -> CryptoProvider {
    static SUITES: LazyLock<Vec<SupportedCipherSuite>> =
        LazyLock::new(|| transcript::restoring(provider().cipher_suites));
    CryptoProvider {
        cipher_suites: SUITES.clone(),
        ..provider()
    }
}

/// Checks that a build with the feature `fips` uses approved algorithms only.
///
/// # Errors
///
/// Not all of them are approved.
pub(super) fn approved(is_approved: bool) -> Result<(), rustls::Error> {
    match cfg!(feature = "fips") && !is_approved {
        true => Err(rustls::Error::General(
            "TLS would not be by the FIPS module alone, as this build demands".to_owned(),
        )),
        false => Ok(()),
    }
}

/// Builds the client configuration for a provider's upstreams and token endpoint: public roots and
/// the certificates in `extra`.
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
    approved(config.fips())?;
    Ok(config)
}

/// Builds the configuration of a listener from its certificate and the authorities of clients.
pub(super) fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    client_ca: Option<&[CertificateDer<'static>]>,
) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(listener_provider()))
        .with_safe_default_protocol_versions()?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(authorities) => builder.with_client_cert_verifier(Arc::new(
            transcript::RestoringVerifier(client_verifier(authorities)?),
        )),
    };
    let mut config = builder.with_single_cert(chain, key)?;
    // The tickets of a replaced configuration are not accepted, so every client's certificate was
    // verified by the current authorities.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    approved(config.fips())?;
    Ok(config)
}

/// Builds a verifier that accepts only clients with a certificate of one of these authorities.
pub(super) fn client_verifier(
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

/// Whether `key` belongs to the first certificate of `chain`.
pub fn belong_together(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> bool {
    rustls::sign::CertifiedKey::from_der(chain, key, &provider()).is_ok()
}

#[cfg(all(test, not(feature = "fips")))]
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
