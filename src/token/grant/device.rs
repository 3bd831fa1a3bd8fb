//! Consent on another device (RFC 8628): a code is shown, and the endpoint is polled until the user
//! has entered it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::super::answer;
use super::super::endpoint::Endpoint;
use super::super::failure::{Class, TokenError};
use super::super::store::Store;
use super::consent::{Consent, keep, wrong_grant};
use super::form::Form;
use crate::config::Account;
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

/// A consent that waits for another device.
pub struct DeviceAuthorization {
    pub(in crate::token) account: Arc<Account>,
    pub(in crate::token) login: String,
    details: Details,
}

/// Response of the device authorization endpoint (RFC 8628 §3.2).
#[derive(Deserialize)]
struct Details {
    device_code: Secret,
    user_code: String,
    /// URL for the user; Google calls it `verification_url`.
    #[serde(alias = "verification_url")]
    verification_uri: String,
    #[serde(default)]
    expires_in: Value,
    #[serde(default)]
    interval: Value,
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
        &self.details.verification_uri
    }

    /// Validity of the code.
    pub fn expires_in(&self) -> Duration {
        seconds(&self.details.expires_in)
            .filter(|time| !time.is_zero())
            .unwrap_or(USUAL)
    }

    fn interval(&self) -> Duration {
        seconds(&self.details.interval)
            .unwrap_or(INTERVAL)
            .max(LEAST_INTERVAL)
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
    let read = |json: &[u8]| serde_json::from_slice(json).ok();
    let details = endpoint
        .post(registration, &url, &form.pairs(), read)
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
    let mut interval = device.interval();
    let mut wait = interval;
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
        Some(_) => format!("the code ran out meanwhile: {}", last.fault.detail()),
        None => "no one entered the code in time".to_owned(),
    };
    TokenError::new(Class::Attention, detail)
        .remedy("begin again, and enter the code within its time")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
            let details = json!({
                "device_code": "d", "user_code": "u", "verification_url": "https://x.test",
                "interval": interval,
            });
            let details: Details = serde_json::from_value(details).unwrap();
            let interval = seconds(&details.interval).unwrap_or(INTERVAL);
            let interval = interval.max(LEAST_INTERVAL);
            assert_eq!(interval.as_secs(), expected, "{:?}", details.interval);
        }
    }
}
