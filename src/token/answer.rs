//! A token endpoint's successful answer (RFC 6749 §5.1), as endpoints really give it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::issued::IssuedToken;
use crate::secret::Secret;

/// Where an answer does not say how long its token lives.
pub(super) const USUAL_LIFETIME: Duration = Duration::from_secs(3600);

/// Longest lifetime that is believed, whatever an endpoint says.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A successful answer; its texts are overwritten when it is dropped.
#[derive(Debug, Deserialize)]
pub(super) struct AccessTokenResponse {
    access_token: Secret,
    #[serde(default)]
    expires_in: Value,
    #[serde(default)]
    refresh_token: Option<Secret>,
    #[serde(default)]
    id_token: Option<Secret>,
    /// Space-separated; some endpoints send a list, or something else.
    #[serde(default)]
    scope: Value,
}

impl AccessTokenResponse {
    /// The answer in a JSON text, where it holds a token.
    pub(super) fn from_json(json: &[u8]) -> Option<Self> {
        let answer: Self = serde_json::from_slice(json).ok()?;
        (!answer.access_token.expose().trim().is_empty()).then_some(answer)
    }

    /// The access token of the answer.
    pub(super) fn token(&self) -> &Secret {
        &self.access_token
    }

    /// The refresh token; an empty one is none.
    pub(super) fn refresh_token(&self) -> Option<&Secret> {
        let token = self.refresh_token.as_ref()?;
        (!token.expose().trim().is_empty()).then_some(token)
    }

    /// OpenID Connect's token about the person, if one came.
    pub(super) fn id_token(&self) -> Option<&str> {
        self.id_token.as_ref().map(Secret::expose)
    }

    /// Scopes that were granted, if the answer says so.
    pub(super) fn granted(&self) -> Vec<String> {
        let text = self.scope.as_str().unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// The token and how long it lives.
    pub(super) fn grant(&self) -> IssuedToken {
        IssuedToken::new(self.access_token.clone(), lifetime(&self.expires_in))
    }
}

/// Time for which a thing lives whose `expires_in` is this: a number or a string with a number (v1
/// endpoints, IMDS) of seconds, a day at most. Absent, zero, negative or anything else: an hour,
/// since no issuer can mean it.
pub(super) fn lifetime(expires_in: &Value) -> Duration {
    let seconds = match expires_in {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match seconds {
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
        let answer = answer(json!({"access_token": "t", "refresh_token": " "})).unwrap();
        assert!(answer.refresh_token().is_none());
    }
}
