//! Certificates in words, and ends that are near.

/// From so many days before its end a credential or certificate is spoken of.
const SOON: i64 = 14;

/// `ends in 3 days` or `has ended`, of a time in seconds since 1970 that is near.
pub(super) fn ends_soon(end: i64) -> Option<String> {
    let now = i64::try_from(crate::token::now()).unwrap_or(i64::MAX);
    let days = end.saturating_sub(now).div_euclid(24 * 3600);
    match days {
        ..0 => Some("has ended".into()),
        0..=SOON => Some(format!("ends in {days} days")),
        _ => None,
    }
}

/// The end of a certificate in DER, in seconds since 1970.
pub(super) fn not_after(der: &[u8]) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

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
    let until = crate::overview::at_seconds(until);
    Some(crate::fault::harmless(&format!(
        "certificate for {name} by {issuer} until {}",
        until.split('T').next().unwrap_or_default()
    )))
}
