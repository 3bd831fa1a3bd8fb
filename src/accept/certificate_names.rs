//! The names in the certificates of clients.

use x509_parser::extensions::GeneralName;

use crate::config::CertificateName;

/// The names that a client's certificate bears: its subjectAltName's rfc822Names and dNSNames (RFC
/// 5280 §4.2.1.6). The subject's common name is none of them.
pub fn certificate_names(certificate: &[u8]) -> Vec<CertificateName> {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::RFC822Name(address) => CertificateName::address(address),
            GeneralName::DNSName(host) => CertificateName::host(host),
            _ => None,
        })
        .collect()
}
