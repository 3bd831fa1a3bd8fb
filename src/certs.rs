//! A local certificate authority, for TLS listeners where no other is at hand.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// Validity of an authority, in days.
const AUTHORITY_DAYS: i64 = 10 * 365;

/// A server certificate's: Apple's systems refuse more.
const SERVER_DAYS: i64 = 825;

/// From an hour ago, for clients whose clocks are slow.
fn is_valid_for(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::hours(1);
    params.not_after = now + Duration::days(days);
}

/// A CA that lives as long as this value: it signs, and its key is never written.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A server's certificate and key.
pub struct Issued {
    /// PEM, leaf first, then the CA.
    pub chain: String,
    /// Private key as PEM, PKCS #8.
    pub key: String,
}

impl Authority {
    /// A new one, with a key of its own (ECDSA P-256).
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

    /// Certificate of the authority, for those who shall trust it.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server certificate for host names and IP addresses.
    pub fn issue(&self, names: &[String]) -> Result<Issued, rcgen::Error> {
        let mut params = CertificateParams::new(names)?;
        if let Some(name) = names.first() {
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

/// The names that a relay on this machine is reached by, if no one says otherwise.
pub fn loopback_names() -> Vec<String> {
    let ip = |ip: IpAddr| ip.to_string();
    vec![
        "localhost".into(),
        ip([127, 0, 0, 1].into()),
        ip([0, 0, 0, 0, 0, 0, 0, 1].into()),
    ]
}
