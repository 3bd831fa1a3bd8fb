//! Consent on another device (RFC 8628): a code is shown, and the endpoint is polled until the user
//! has entered it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::super::answer;
use super::super::endpoint::Endpoint;
use super::super::failure::{Class, TokenError};
use super::super::store::Store;
use super::consent::{Consent, keep, wrong_grant};
use super::form::Form;
use crate::config::Account;
use crate::fault::sanitize;
use crate::secret::Secret;

/// Longest wait for a user.
const LONGEST: Duration = Duration::from_secs(3600);

/// Validity of a code if the endpoint does not state one.
const USUAL: Duration = Duration::from_secs(900);

/// Interval between polls if the endpoint does not state one (RFC 8628 §3.2), and the minimum.
const INTERVAL: Duration = Duration::from_secs(5);
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// Increase of the interval after `slow_down` (RFC 8628 §3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// Longest code and longest URL that are shown, in octets.
const LONGEST_CODE: usize = 40;
const LONGEST_URL: usize = 2_000;

/// A consent that waits for another device.
pub struct DeviceAuthorization {
    pub(in crate::token) account: Arc<Account>,
    pub(in crate::token) login: String,
    details: Details,
}

/// Response of the device authorization endpoint (RFC 8628 §3.2), as received.
#[derive(Deserialize)]
struct Answer {
    device_code: Secret,
    user_code: String,
    #[serde(default)]
    verification_uri: Option<String>,
    /// Google's name for the same URL; some endpoints send both.
    #[serde(default)]
    verification_url: Option<String>,
    #[serde(default)]
    expires_in: Value,
    #[serde(default)]
    interval: Value,
}

/// Response that can be shown to a user: one line of text and a link.
struct Details {
    device_code: Secret,
    user_code: String,
    verification_uri: Url,
    lifetime: Duration,
    interval: Duration,
}

impl Details {
    /// Parses a JSON text; `None` if it contains no usable codes, or no web address.
    fn from_json(json: &[u8]) -> Option<Self> {
        let answer: Answer = serde_json::from_slice(json).ok()?;
        let code = answer.user_code.trim();
        let is_code = !code.is_empty() && code.len() <= LONGEST_CODE && sanitize(code) == code;
        // Parsing leaves only printable ASCII.
        let url = Url::parse(&answer.verification_uri.or(answer.verification_url)?).ok()?;
        let is_page = matches!(url.scheme(), "https" | "http") && url.as_str().len() <= LONGEST_URL;
        if !is_code || !is_page || answer.device_code.expose().is_empty() {
            return None;
        }
        let lifetime = seconds(&answer.expires_in).filter(|time| !time.is_zero());
        let interval = seconds(&answer.interval).unwrap_or(INTERVAL);
        Some(Self {
            user_code: code.to_owned(),
            device_code: answer.device_code,
            verification_uri: url,
            lifetime: lifetime.unwrap_or(USUAL),
            interval: interval.max(LEAST_INTERVAL),
        })
    }
}

fn seconds(value: &Value) -> Option<Duration> {
    let seconds = answer::seconds(value).filter(|seconds| *seconds >= 0.0)?;
    Some(Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64())))
}

impl DeviceAuthorization {
    /// Mailbox of the login.
    pub fn mailbox(&self) -> String {
        self.account.first_mailbox(&self.login)
    }

    /// Code that the user enters.
    pub fn user_code(&self) -> &str {
        &self.details.user_code
    }

    /// URL at which the user enters the code.
    pub fn verification_uri(&self) -> &str {
        self.details.verification_uri.as_str()
    }

    /// Validity of the code.
    pub fn expires_in(&self) -> Duration {
        self.details.lifetime
    }
}

/// Begins a consent on another device.
pub(in crate::token) async fn start(
    account: Arc<Account>,
    login: &str,
    endpoint: &Endpoint,
) -> Result<DeviceAuthorization, TokenError> {
    let registration = &account.registration;
    let Some(url) = registration.device_url.clone() else {
        return Err(wrong_grant(registration));
    };
    let mut form = Form::of_client(registration, None)?;
    form.add("scope", &account.scope().join(" "));
    let details = endpoint
        .post(registration, &url, &form.pairs(), Details::from_json)
        .await?;
    Ok(DeviceAuthorization {
        login: login.to_owned(),
        details,
        account,
    })
}

/// Polls until the user has consented on the other device, at the allowed interval and through
/// temporary failures. Stores the consent.
pub(in crate::token) async fn complete<F>(
    device: &DeviceAuthorization,
    endpoint: &Endpoint,
    store: &Arc<Store>,
    timeout: Duration,
    sleep: impl Fn(Duration) -> F,
) -> Result<Consent, TokenError>
where
    F: Future<Output = ()>,
{
    let registration = &device.account.registration;
    let end = Instant::now() + device.expires_in();
    let mut interval = device.details.interval;
    // One poll at least, whatever the interval.
    let mut wait = interval.min(device.expires_in());
    loop {
        sleep(wait).await;
        // Rebuilt for each poll, since a client assertion is valid for minutes only.
        let mut form = Form::of_client(registration, None)?;
        form.add("grant_type", "urn:ietf:params:oauth:grant-type:device_code");
        form.0
            .push(("device_code", device.details.device_code.clone()));
        match endpoint.token(registration, &form.pairs()).await {
            Ok(answer) => {
                return keep(&device.account, &device.login, &answer, store, timeout).await;
            }
            Err(failure) => {
                let Class::Later { throttled } = failure.class else {
                    return Err(failure);
                };
                if throttled {
                    interval += SLOWER;
                }
                wait = interval.max(failure.retry_after.unwrap_or_default());
                if Instant::now() + wait > end {
                    return Err(late(failure));
                }
            }
        }
    }
}

fn late(last: TokenError) -> TokenError {
    let detail = match last.retry_after {
        Some(_) => format!("the code expired meanwhile: {}", last.fault.detail()),
        None => "no one entered the code in time".to_owned(),
    };
    TokenError::new(Class::Attention, detail)
        .remedy("start again, and enter the code before it expires")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn details(changed: Value) -> Option<Details> {
        let mut answer = json!({
            "device_code": "d", "user_code": "WDJB-MJHT", "verification_uri": "https://x.test/device",
        });
        for (key, value) in changed.as_object().unwrap() {
            answer[key] = value.clone();
        }
        Details::from_json(answer.to_string().as_bytes())
    }

    #[test]
    fn polls_are_a_second_apart_at_least() {
        for (interval, expected) in [
            (json!(null), 5),
            (json!(0), 1),
            (json!("0"), 1),
            (json!(-3), 5),
            (json!(7), 7),
            (json!("7"), 7),
            (json!(1e300), 3600),
        ] {
            let details = details(json!({"interval": interval})).unwrap();
            assert_eq!(details.interval.as_secs(), expected, "{interval}");
        }
    }

    #[test]
    fn either_name_of_the_page_is_read_and_both_at_once() {
        let google = json!({"verification_uri": null, "verification_url": "https://g.test/device"});
        for (changed, page) in [
            (json!({}), "https://x.test/device"),
            (google, "https://g.test/device"),
            (
                json!({"verification_url": "https://g.test/device"}),
                "https://x.test/device",
            ),
        ] {
            let details = details(changed).unwrap();
            assert_eq!(details.verification_uri.as_str(), page);
        }
    }

    #[test]
    fn only_a_page_and_a_line_of_text_are_shown() {
        for page in [
            "javascript:alert(1)",
            "data:text/html,x",
            "/device",
            "",
            &format!("https://x.test/{}", "a".repeat(LONGEST_URL)),
        ] {
            assert!(
                details(json!({"verification_uri": page})).is_none(),
                "{page}"
            );
        }
        for code in [
            "",
            " ",
            "AB\r\nOpen https://evil.test",
            "\u{1b}[31mAB",
            "\u{202e}BA",
            &"A".repeat(LONGEST_CODE + 1),
        ] {
            assert!(details(json!({"user_code": code})).is_none(), "{code:?}");
        }
        assert!(details(json!({"device_code": ""})).is_none());
        let odd =
            details(json!({"verification_uri": "https://x.test/\u{1b}]0;a\u{7}\r\n\u{202e}b"}));
        let shown = odd.unwrap().verification_uri.to_string();
        assert!(
            shown.bytes().all(|octet| octet.is_ascii_graphic()),
            "{shown}"
        );
    }
}
