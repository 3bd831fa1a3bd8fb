//! A local certificate authority, for TLS listeners without another certificate.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::ServerName;
use time::{Duration, OffsetDateTime};

/// Validity of an authority, in days.
const AUTHORITY_DAYS: i64 = 10 * 365;

/// Validity of a server certificate, in days; Apple's systems reject longer ones.
const SERVER_DAYS: i64 = 825;

/// Longest common name, in characters (RFC 5280 §A.1, ub-common-name).
const COMMON_NAME: usize = 64;

/// Sets the validity, from an hour ago for clients whose clocks are slow.
fn is_valid_for(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::hours(1);
    params.not_after = now + Duration::days(days);
}

/// A CA that exists only in memory: it signs certificates, and its key is never written.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A server certificate and its key.
pub struct Issued {
    /// Certificate chain in PEM: leaf, then CA.
    pub chain: String,
    /// Private key in PEM, PKCS #8.
    pub key: String,
}

impl Authority {
    /// Creates an authority with a new key (ECDSA P-256).
    pub fn new(common_name: &str) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        is_valid_for(&mut params, AUTHORITY_DAYS);
        Ok(Self(CertifiedIssuer::self_signed(
            params,
            KeyPair::generate()?,
        )?))
    }

    /// Certificate of the authority in PEM, for clients that shall trust it.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Issues a server certificate for host names and IP addresses.
    pub fn issue(&self, names: &[String]) -> Result<Issued, rcgen::Error> {
        let mut params = CertificateParams::new(names)?;
        let fits = |name: &&String| name.len() <= COMMON_NAME;
        if let Some(name) = names.iter().find(fits) {
            params
                .distinguished_name
                .push(DnType::CommonName, name.as_str());
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        is_valid_for(&mut params, SERVER_DAYS);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        Ok(Issued {
            chain: format!("{}{}", certificate.pem(), self.pem()),
            key: key.serialize_pem(),
        })
    }
}

/// Whether a certificate can be issued for a name: a host name, also with `*` as its first label, or
/// an IP address. Other names would be in the certificate, and no client would find them there.
pub fn is_server_name(name: &str) -> bool {
    let host = name.strip_prefix("*.").unwrap_or(name);
    match ServerName::try_from(host) {
        // Names in certificates have no dot at the end.
        Ok(ServerName::DnsName(_)) => !host.ends_with('.'),
        Ok(ServerName::IpAddress(_)) => host == name,
        _ => false,
    }
}

/// Default names of a relay on this machine.
pub fn loopback_names() -> Vec<String> {
    let ip = |ip: IpAddr| ip.to_string();
    vec![
        "localhost".into(),
        ip([127, 0, 0, 1].into()),
        ip([0, 0, 0, 0, 0, 0, 0, 1].into()),
    ]
}
