//! The transcript of a handshake whose ClientHello was changed before rustls read it
//! ([`super::server_name`]).
//!
//! Both sides prove with a hash of all messages that they saw the same ones (RFC 8446 §4.4.1). The
//! wrappers here restore a ClientHello to what the client sent wherever rustls hashes it, or checks
//! a signature of it. rustls passes each message from its beginning; only for a PSK binder it omits
//! the end.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CipherSuiteCommon;
use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, SignatureScheme, SupportedCipherSuite,
    Tls12CipherSuite, Tls13CipherSuite,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::server_name::{SERVER_NAME, find_hidden};

/// Cipher suites with a restoring hash. rustls borrows suites for ever: to be made once.
pub(super) fn restoring(suites: Vec<SupportedCipherSuite>) -> Vec<SupportedCipherSuite> {
    suites.into_iter().map(restoring_suite).collect()
}

fn restoring_suite(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let restoring = |common: &CipherSuiteCommon| CipherSuiteCommon {
        suite: common.suite,
        hash_provider: Box::leak(Box::new(RestoringHash(common.hash_provider))),
        confidentiality_limit: common.confidentiality_limit,
    };
    match suite {
        SupportedCipherSuite::Tls12(suite) => {
            SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common: restoring(&suite.common),
                prf_provider: suite.prf_provider,
                kx: suite.kx,
                sign: suite.sign,
                aead_alg: suite.aead_alg,
            })))
        }
        SupportedCipherSuite::Tls13(suite) => {
            SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: restoring(&suite.common),
                hkdf_provider: suite.hkdf_provider,
                aead_alg: suite.aead_alg,
                quic: suite.quic,
            })))
        }
    }
}

/// Passes messages on, a ClientHello as the client sent it.
pub(super) fn restored(messages: &[u8], mut pass: impl FnMut(&[u8])) {
    let (front, rest) = match find_hidden(messages) {
        Some(position) => messages.split_at_checked(position),
        None => None,
    }
    .unwrap_or((messages, &[]));
    pass(front);
    if let Some(rest) = rest.get(2..) {
        pass(&SERVER_NAME.to_be_bytes());
        pass(rest);
    }
}

/// Hash function of a cipher suite.
struct RestoringHash(&'static dyn Hash);

impl Hash for RestoringHash {
    fn start(&self) -> Box<dyn Context> {
        Box::new(RestoringContext(self.0.start()))
    }

    /// Hashes what is no transcript.
    fn hash(&self, data: &[u8]) -> Output {
        self.0.hash(data)
    }

    fn output_len(&self) -> usize {
        self.0.output_len()
    }

    fn algorithm(&self) -> HashAlgorithm {
        self.0.algorithm()
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

/// Hash of a transcript.
struct RestoringContext(Box<dyn Context>);

impl Context for RestoringContext {
    fn fork_finish(&self) -> Output {
        self.0.fork_finish()
    }

    fn fork(&self) -> Box<dyn Context> {
        Box::new(Self(self.0.fork()))
    }

    fn finish(self: Box<Self>) -> Output {
        self.0.finish()
    }

    fn update(&mut self, data: &[u8]) {
        restored(data, |part| self.0.update(part));
    }
}

/// Verifier of certificates that clients must show. In TLS 1.2 a client signs all messages (RFC 5246 §7.4.8), in
/// TLS 1.3 their hash.
#[derive(Debug)]
pub(super) struct RestoringVerifier(pub(super) Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for RestoringVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let mut messages = Vec::with_capacity(message.len());
        restored(message, |part| messages.extend_from_slice(part));
        self.0.verify_tls12_signature(&messages, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
