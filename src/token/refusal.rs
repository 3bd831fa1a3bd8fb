//! Meaning of a token endpoint's refusal: one table of Entra's codes, and one of OAuth's error
//! names. Each row has a class and a remedy.
//!
//! Codes take precedence: 50196 arrives as `invalid_grant` but is throttling, and 53003 does too
//! but can be resolved by an administrator. A consent counts as ended only by a code that says so,
//! by the suberrors `bad_token` and `token_expired` with an unknown code, or by a bare
//! `invalid_grant`. Unknown errors leave it unchanged.

mod table;

use std::borrow::Cow;

use super::failure::Class::{self, Attention, Ended};
use super::failure::TokenError;
use crate::config::Registration;
use crate::fault::cut_secrets;
pub(super) use table::THROTTLED;
use table::{CODES, For, LATER, LESS, NAMES, TROUBLE, UNKNOWN};

/// An error response (RFC 6749 §5.2, with Entra's and Google's additions).
#[derive(Debug, Default)]
pub(super) struct OAuthError<'a> {
    pub(super) status: u16,
    pub(super) error: &'a str,
    pub(super) description: &'a str,
    pub(super) codes: &'a [u64],
    pub(super) suberror: &'a str,
    /// Seconds by which our clock is ahead of the endpoint's.
    pub(super) skew: Option<i64>,
    /// Secrets of the request, which the endpoint may repeat. They are cut only from the detail: a
    /// password that a client presents must not change the meaning of its refusal.
    pub(super) secrets: &'a [&'a str],
}

/// Difference in seconds above which a clock is wrong, rather than the network slow.
const SKEW: i64 = 60;

/// Codes of assertions outside their validity.
const TIMED: &[u64] = &[700_024, 50012, 500_133];

/// Classifies an error response for a registration.
pub(super) fn classify(registration: &Registration, refusal: &OAuthError<'_>) -> TokenError {
    // The first line is the message; the others are ids of the request.
    let summary = refusal.description.lines().next().unwrap_or_default();
    let mut codes = refusal.codes.to_vec();
    codes.extend(in_description(summary));
    let error = normal(refusal.error);
    let said = match summary {
        "" => refusal.error.to_owned(),
        summary => format!("{}: {summary}", refusal.error),
    };
    let said = cut_secrets(&said, refusal.secrets.iter().copied());
    let detail = format!("the identity provider answers {said}");
    let (class, remedy) = meaning(registration, refusal, &codes, &error);
    let class = match class {
        // Without a consent none can end.
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
    let is_later = |class| matches!(class, Class::Later { .. });
    let mut found = codes.iter().filter_map(|code| {
        let mut rows = CODES.iter();
        rows.find(|row| row.answers.contains(code) && row.about.is(registration))
    });
    // If several codes are known, a temporary one takes precedence.
    let first = found.next();
    let known = found.find(|row| is_later(row.class)).or(first);
    let of_name = NAMES
        .iter()
        .find(|row| row.answers.contains(&error) && row.about.is(registration));
    match (known, of_name) {
        (Some(row), _) if is_later(row.class) => (row.class, row.remedy),
        _ if refusal.status == 429 => (LESS, THROTTLED),
        (_, Some(row)) if is_later(row.class) => (row.class, row.remedy),
        _ if refusal.status >= 500 => (LATER, TROUBLE),
        (Some(row), _) => (row.class, row.remedy),
        // An unknown code is not overruled by the name.
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

/// Blames the clock if something signed is outside its validity, or the endpoint's clock differs.
fn clock(
    registration: &Registration,
    refusal: &OAuthError<'_>,
    codes: &[u64],
    summary: &str,
) -> Option<String> {
    let skew = refusal.skew.filter(|skew| skew.abs() > SKEW)?;
    let lower = summary.to_ascii_lowercase();
    // Signed requests contain a time.
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

/// Normalizes a name: lower case, with `_` for `-` and space and between the words of `camelCase`.
pub(super) fn normal(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    let mut follows_lower = false;
    for c in name.trim().chars() {
        if follows_lower && c.is_ascii_uppercase() {
            normal.push('_');
        }
        follows_lower = c.is_ascii_lowercase();
        normal.push(match c {
            '-' | ' ' => '_',
            c => c.to_ascii_lowercase(),
        });
    }
    normal
}

/// Finds all codes `AADSTS7000215: …` in a description: some responses contain two, and the list
/// may be absent.
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

/// Classifies an error that returned to the redirect URI instead of a code (RFC 6749 §4.1.2.1).
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
