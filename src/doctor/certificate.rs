//! Descriptions of certificates, and of those that expire soon.

use crate::expiry::ends_soon;
use crate::session::Service;

/// `certificate for NAME by ISSUER until DATE`.
pub(super) fn describe(der: &[u8]) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let name = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .and_then(|names| names.value.general_names.first().map(ToString::to_string))
        .unwrap_or_else(|| certificate.subject().to_string());
    let name = name.trim_start_matches("DNSName(").trim_end_matches(')');
    let issuer = certificate
        .issuer()
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok())
        .map_or_else(|| certificate.issuer().to_string(), str::to_owned);
    let until = certificate.validity().not_after.timestamp();
    let until = u64::try_from(until).ok()?;
    let until = crate::status::at_seconds(until);
    Some(crate::fault::sanitize(&format!(
        "certificate for {name} by {issuer} until {}",
        until.split('T').next().unwrap_or_default()
    )))
}

/// Lists certificates of listeners that expire soon, one line each with the remedy. No step of the
/// test covers them.
pub fn listeners_ends(service: &Service) -> impl Iterator<Item = String> {
    service.listeners.iter().filter_map(|listener| {
        let identity = listener.tls.certificate()?;
        let when = ends_soon(identity.end()?)?;
        let path = identity.files.certificate.display();
        let name = &listener.name;
        Some(format!(
            "the certificate of the listener {name} {when}: put a new one into {path}"
        ))
    })
}
