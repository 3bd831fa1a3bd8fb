//! Successful responses of token endpoints (RFC 6749 §5.1), in the variants that endpoints send.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::issued::IssuedToken;
use crate::secret::Secret;

/// Lifetime of a token if the response does not state one.
pub(super) const USUAL_LIFETIME: Duration = Duration::from_secs(3600);

/// Longest lifetime that is accepted.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Successful response; its texts are overwritten on drop.
#[derive(Debug, Deserialize)]
pub(super) struct AccessTokenResponse {
    pub(super) access_token: Secret,
    #[serde(default)]
    expires_in: Value,
    #[serde(default)]
    refresh_token: Option<Secret>,
    #[serde(default)]
    pub(super) id_token: Option<Secret>,
    /// Space-separated; some endpoints send a list or another type.
    #[serde(default)]
    scope: Value,
}

impl AccessTokenResponse {
    /// Parses a JSON text; `None` if it contains no access token, or one with octets that none has
    /// (RFC 6749 §A.12): a control character would end a field of XOAUTH2.
    pub(super) fn from_json(json: &[u8]) -> Option<Self> {
        let answer: Self = serde_json::from_slice(json).ok()?;
        let token = answer.access_token.expose();
        let is_token =
            !token.trim().is_empty() && token.bytes().all(|octet| matches!(octet, b' '..=b'~'));
        is_token.then_some(answer)
    }

    /// The refresh token; `None` if absent or empty.
    pub(super) fn refresh_token(&self) -> Option<&Secret> {
        let token = self.refresh_token.as_ref()?;
        (!token.expose().trim().is_empty()).then_some(token)
    }

    /// The granted scopes, if the response states them.
    pub(super) fn granted(&self) -> Vec<String> {
        let text = self.scope.as_str().unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// The token with its lifetime.
    pub(super) fn grant(&self) -> IssuedToken {
        IssuedToken::new(self.access_token.clone(), lifetime(&self.expires_in))
    }
}

/// Reads a number of seconds, which may be a string.
pub(super) fn seconds(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Converts an `expires_in`: a number of seconds, also as a string (v1 endpoints, IMDS), at most
/// one day. Absent, zero, negative or invalid values mean one hour, since no issuer can intend
/// them.
pub(super) fn lifetime(expires_in: &Value) -> Duration {
    match seconds(expires_in) {
        Some(seconds) if seconds >= 1.0 => {
            Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64()))
        }
        _ => USUAL_LIFETIME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_expires_in_is_a_lifetime() {
        for (value, seconds) in [
            (json!(3599), 3599),
            (json!("3599"), 3599),
            (json!(" 60 "), 60),
            (json!(1.0), 1),
            (json!(u64::MAX), 86_400),
            (json!(1e300), 86_400),
            (json!("inf"), 86_400),
            (json!(0), 3600),
            (json!("0"), 3600),
            (json!(0.5), 3600),
            (json!(-1), 3600),
            (json!("soon"), 3600),
            (json!("NaN"), 3600),
            (json!(""), 3600),
            (json!(null), 3600),
            (json!([3599]), 3600),
            (json!({"seconds": 1}), 3600),
            (json!(true), 3600),
        ] {
            assert_eq!(lifetime(&value), Duration::from_secs(seconds), "{value}");
        }
    }

    #[test]
    fn an_empty_token_is_none() {
        let answer = |json: Value| AccessTokenResponse::from_json(json.to_string().as_bytes());
        assert!(answer(json!({"access_token": ""})).is_none());
        assert!(answer(json!({"expires_in": 5})).is_none());
        for token in ["a\r\nb", "a\u{1}b", "t\u{f6}ken", "a\u{7f}"] {
            assert!(
                answer(json!({"access_token": token})).is_none(),
                "{token:?}"
            );
        }
        let answer = answer(json!({"access_token": "t", "refresh_token": " "})).unwrap();
        assert!(answer.refresh_token().is_none());
    }
}
