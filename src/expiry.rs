//! Expiry of certificates and client secrets: how near it is, and when alerts are sent.
//!
//! All times are in seconds since 1970.

use crate::text::counted;

/// Days before expiry at which alerts are sent; from the first of them on the expiry is near.
const DAYS: [i64; 3] = [1, 7, 14];

/// Current time by the system clock.
pub fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

/// Expiry of a certificate in DER (RFC 5280 §4.1.2.5).
pub fn of_certificate(der: &[u8]) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// Beginning of a certificate's validity, in DER (RFC 5280 §4.1.2.5).
pub fn beginning_of_certificate(der: &[u8]) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    Some(certificate.validity().not_before.timestamp())
}

/// Remaining whole days of something near its expiry, negative afterwards; `None` if it is not
/// near.
pub fn near(end: i64, now: i64) -> Option<i64> {
    let days = end.saturating_sub(now).div_euclid(24 * 3600);
    (days <= DAYS.into_iter().max()?).then_some(days)
}

/// Phrase for a number of whole days from today: `today`, `in 1 day` or `in 3 days`.
pub fn in_days(days: i64) -> String {
    match days {
        ..=0 => "today".into(),
        _ => format!("in {}", counted(days, "day")),
    }
}

/// Days before expiry of the last alert: 14, 7 or 1.
pub fn last_alert(end: i64, now: i64) -> Option<i64> {
    let days = near(end, now)?;
    DAYS.into_iter().find(|alert| days <= *alert)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_has_three_alerts() {
        const DAY: i64 = 86_400;
        for (left, days, alert) in [
            (100 * DAY, None, None),
            (15 * DAY, None, None),
            (15 * DAY - 1, Some(14), Some(14)),
            (8 * DAY, Some(8), Some(14)),
            (8 * DAY - 1, Some(7), Some(7)),
            (2 * DAY - 1, Some(1), Some(1)),
            (0, Some(0), Some(1)),
            (-1, Some(-1), Some(1)),
        ] {
            let now = 1_700_000_000;
            assert_eq!(near(now + left, now), days, "{left}");
            assert_eq!(last_alert(now + left, now), alert, "{left}");
        }
        assert_eq!(last_alert(i64::MIN, i64::MAX), Some(1));
        assert_eq!([0, 1, 3].map(in_days), ["today", "in 1 day", "in 3 days"]);
    }
}
