//! Names in client certificates.

use x509_parser::extensions::GeneralName;

use crate::config::CertificateName;

/// Reads the names in a client's certificate: the rfc822Names and dNSNames of its subjectAltName
/// (RFC 5280 §4.2.1.6). The subject's common name is not used.
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
