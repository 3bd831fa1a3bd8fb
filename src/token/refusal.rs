//! What a token endpoint's refusal means: one table from Entra's codes, one from OAuth's error
//! names, each row with its class and its remedy.
//!
//! Codes come first: 50196 arrives as `invalid_grant`, yet it is throttling, and 53003 does, yet an
//! administrator cures it. A consent has ended only by a code that says so, by the suberrors
//! `bad_token` and `token_expired` beside an unknown code, or by a bare `invalid_grant`. Whatever
//! is not known leaves it as it is.

mod subject;
mod table;

use std::borrow::Cow;

use super::failure::Class::{self, Attention, Ended};
use super::failure::TokenError;
use crate::config::Registration;
use subject::For;
pub(super) use table::THROTTLED;
use table::{CODES, LATER, LESS, NAMES, Row, TROUBLE, UNKNOWN};

/// An error answer (RFC 6749 §5.2, with Entra's and Google's additions).
#[derive(Debug, Default)]
pub(super) struct OAuthError<'a> {
    pub(super) status: u16,
    pub(super) error: &'a str,
    pub(super) description: &'a str,
    pub(super) codes: &'a [u64],
    pub(super) suberror: &'a str,
    /// Seconds by which our clock is ahead of the endpoint's.
    pub(super) skew: Option<i64>,
}

/// Beyond it a clock is wrong, and not just the network slow.
const SKEW: i64 = 60;

/// Codes and words of assertions that are outside their time.
const TIMED: &[u64] = &[700_024, 50012];

/// Decides what an error answer means for a registration.
pub(super) fn classify(registration: &Registration, refusal: &OAuthError<'_>) -> TokenError {
    // The description's first line says it; the rest are ids of the request.
    let summary = refusal.description.lines().next().unwrap_or_default();
    let mut codes = refusal.codes.to_vec();
    codes.extend(in_description(summary));
    let error = normal(refusal.error);
    let detail = match summary {
        "" => format!("the identity provider answers {}", refusal.error),
        summary => format!("the identity provider answers {}: {summary}", refusal.error),
    };
    let (class, remedy) = meaning(registration, refusal, &codes, &error);
    let class = match class {
        // Without a consent there is none to end.
        Ended if !registration.grant.needs_consent() => Attention,
        class => class,
    };
    let remedy = match clock(registration, refusal, &codes, summary) {
        Some(clock) => Cow::Owned(format!("{clock}; {remedy}")),
        None => Cow::Borrowed(remedy),
    };
    TokenError::new(class, detail).remedy(remedy).asked()
}

fn meaning(
    registration: &Registration,
    refusal: &OAuthError<'_>,
    codes: &[u64],
    error: &str,
) -> (Class, &'static str) {
    let about = |row: &&Row| row.about.is(registration);
    let mut found = codes.iter().filter_map(|code| {
        let rows = CODES.iter().filter(|row| row.codes.contains(code));
        rows.clone().find(about)
    });
    // Where two codes are named, one that says "later" counts.
    let first = found.next();
    let known = match (
        first,
        found.find(|row| matches!(row.class, Class::Later { .. })),
    ) {
        (_, Some(later)) => Some(later),
        (first, None) => first,
    };
    let of_name = NAMES
        .iter()
        .find(|row| row.names.contains(&error) && row.about.is(registration));
    let is_later = |class| matches!(class, Class::Later { .. });
    match (known, of_name) {
        (Some(row), _) if is_later(row.class) => (row.class, row.remedy),
        _ if refusal.status == 429 => (LESS, THROTTLED),
        (_, Some(row)) if is_later(row.class) => (row.class, row.remedy),
        _ if refusal.status >= 500 => (LATER, TROUBLE),
        (Some(row), _) => (row.class, row.remedy),
        // Neither the code nor, for want of one, the name decides.
        (None, row) if !codes.is_empty() || !refusal.suberror.is_empty() => {
            match normal(refusal.suberror).as_str() {
                "bad_token" | "token_expired" => (
                    Ended,
                    "the consent has expired or was revoked: authorize the account again",
                ),
                _ => (
                    Attention,
                    row.filter(|row| row.class == Attention)
                        .map_or(UNKNOWN, |row| row.remedy),
                ),
            }
        }
        (None, Some(row)) => (row.class, row.remedy),
        (None, None) => (Attention, UNKNOWN),
    }
}

/// Blames the clock, where something signed is outside its time or the endpoint's clock says so.
fn clock(
    registration: &Registration,
    refusal: &OAuthError<'_>,
    codes: &[u64],
    summary: &str,
) -> Option<String> {
    let skew = refusal.skew.filter(|skew| skew.abs() > SKEW)?;
    let lower = summary.to_ascii_lowercase();
    // What is signed here has a time in it.
    let signs = For::Certificate.is(registration) || For::ServiceAccount.is(registration);
    let timed = (signs && codes.is_empty())
        || codes.iter().any(|code| TIMED.contains(code))
        || [
            "invalid jwt",
            "iat",
            "expired",
            "not yet valid",
            "time range",
            "clock",
        ]
        .iter()
        .any(|word| lower.contains(word));
    timed.then(|| wrong_clock(skew))
}

/// `this machine's clock is 3600 s ahead of …`.
pub(super) fn wrong_clock(skew: i64) -> String {
    let (by, side) = match skew {
        0.. => (skew, "ahead of"),
        _ => (skew.saturating_neg(), "behind"),
    };
    format!("this machine's clock is {by} s {side} the identity provider's: set it (NTP)")
}

/// Lower case, with `_` where others have `-` or a space.
pub(super) fn normal(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace(['-', ' '], "_")
}

/// `AADSTS7000215: …`, all of them: some answers name two, and the list may lack.
fn in_description(description: &str) -> Vec<u64> {
    description
        .split("AADSTS")
        .skip(1)
        .filter_map(|rest| {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            rest.get(..digits)?.parse().ok()
        })
        .collect()
}

/// RFC 6749 §4.1.2.1: what came back to the redirect URI instead of a code.
pub(super) fn at_consent(
    registration: &Registration,
    error: &str,
    description: &str,
) -> TokenError {
    let refusal = OAuthError {
        status: 400,
        error,
        description,
        ..OAuthError::default()
    };
    classify(registration, &refusal)
}

#[cfg(test)]
mod tests;
