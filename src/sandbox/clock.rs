//! Dates as the protocols write them, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// `Sun, 23 Nov 2025 11:12:20 +0000` (RFC 5322).
pub(super) fn mail(at: u64) -> String {
    let (year, month, day) = date(at);
    let weekday = pick(&DAYS, at / 86_400 % 7);
    format!(
        "{weekday}, {day} {} {year} {} +0000",
        pick(&MONTHS, month - 1),
        time(at)
    )
}

/// `23-Nov-2025 11:12:20 +0000` (RFC 3501's date-time).
pub(super) fn internal(at: u64) -> String {
    let (year, month, day) = date(at);
    format!(
        "{day:02}-{}-{year} {} +0000",
        pick(&MONTHS, month - 1),
        time(at)
    )
}

/// `2025-11-23 11:12:20Z`, as Entra's errors say it.
pub(super) fn entra(at: u64) -> String {
    let (year, month, day) = date(at);
    format!("{year}-{month:02}-{day:02} {}Z", time(at))
}

/// `2025-11-23T11:12:20.000Z`, as Exchange's SMTP says it.
pub(super) fn exchange(at: u64) -> String {
    let (year, month, day) = date(at);
    format!("{year}-{month:02}-{day:02}T{}.000Z", time(at))
}

fn pick(names: &[&'static str], at: u64) -> &'static str {
    usize::try_from(at)
        .ok()
        .and_then(|at| names.get(at))
        .copied()
        .unwrap_or_default()
}

fn time(at: u64) -> String {
    let second = at % 86_400;
    format!(
        "{:02}:{:02}:{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Year, month, day; counted in years that begin in March, so that the leap day comes last.
fn date(at: u64) -> (u64, u64, u64) {
    let days = at / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}
