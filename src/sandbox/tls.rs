//! The sandbox's own certification authority and its servers' certificates, good and bad.

use std::io;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::Fault;

/// Acceptors, one for each certificate.
pub(super) struct Identities {
    pub ca_pem: String,
    good: TlsAcceptor,
    self_signed: TlsAcceptor,
    wrong_name: TlsAcceptor,
    expired: TlsAcceptor,
}

impl Identities {
    pub fn new() -> io::Result<Self> {
        build().map_err(io::Error::other)
    }

    /// The acceptor of the mail services under `fault`.
    pub fn acceptor(&self, fault: Option<Fault>) -> TlsAcceptor {
        match fault {
            Some(Fault::TlsSelfSigned) => &self.self_signed,
            Some(Fault::TlsWrongName) => &self.wrong_name,
            Some(Fault::TlsExpired) => &self.expired,
            _ => &self.good,
        }
        .clone()
    }
}

fn build() -> Result<Identities, Box<dyn std::error::Error + Send + Sync>> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name
        .push(DnType::CommonName, "authrelay sandbox CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (ca.not_before, ca.not_after) = (date_time_ymd(2024, 1, 1), date_time_ymd(2100, 1, 1));
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate()?;
    let names = ["localhost", "127.0.0.1"];
    let good = server(&names, 2100)?.signed_by(&key, &issuer)?;
    let wrong_name = server(&["mail.fabrikam.test"], 2100)?.signed_by(&key, &issuer)?;
    let expired = server(&names, 2025)?.signed_by(&key, &issuer)?;
    let self_signed = server(&names, 2100)?.self_signed(&key)?;
    Ok(Identities {
        ca_pem,
        good: acceptor(good.der(), &key)?,
        wrong_name: acceptor(wrong_name.der(), &key)?,
        expired: acceptor(expired.der(), &key)?,
        self_signed: acceptor(self_signed.der(), &key)?,
    })
}

fn server(names: &[&str], until: i32) -> Result<CertificateParams, rcgen::Error> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "outlook.sandbox");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (params.not_before, params.not_after) = (date_time_ymd(2024, 1, 1), date_time_ymd(until, 1, 1));
    Ok(params)
}

/// TLS 1.2 and 1.3, with tickets, so that clients can resume.
fn acceptor(
    certificate: &CertificateDer<'static>,
    key: &KeyPair,
) -> Result<TlsAcceptor, rustls::Error> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)?;
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
