//! A person's consent: by a browser (RFC 6749 §4.1 with RFC 7636) or on another device
//! (RFC 8628). What comes of it is stored before it is reported.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use oauth2::{
    AuthUrl, AuthorizationCode, CsrfToken, DeviceAuthorizationUrl, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, StandardDeviceAuthorizationResponse,
};
use url::Url;

use super::super::endpoint::{Answer, Endpoint, NoAnswer, unusable};
use super::super::entra;
use super::super::store::{Record, Store};
use super::{Failure, Grant, client_of, proof, refresh_token};
use crate::config::{Account, Registration};
use crate::fault::{Fault, Kind, harmless};
use crate::wire::Protocol;

/// What nobody waits for a person longer than, whatever an endpoint says.
const LONGEST: Duration = Duration::from_secs(3600);

/// A consent that was asked for and not given yet.
pub struct Pending {
    pub(in crate::token) account: Arc<Account>,
    pub(in crate::token) login: String,
    redirect: RedirectUrl,
    verifier: PkceCodeVerifier,
    /// Comes back with the code; whoever does not know it has not asked.
    pub(crate) state: String,
    /// Where the person goes.
    pub(crate) url: Url,
}

/// A consent that waits for another device.
pub struct Device {
    pub(in crate::token) account: Arc<Account>,
    pub(in crate::token) login: String,
    details: StandardDeviceAuthorizationResponse,
}

/// A consent that was given and stored.
#[derive(Debug, Clone)]
pub struct Consent {
    /// Who signed in, as far as the token tells.
    pub identity: Option<String>,
}

impl Pending {
    /// For which login.
    pub fn login(&self) -> &str {
        &self.login
    }

    /// Which mailbox that opens, by whichever protocol the account allows.
    pub fn mailbox(&self) -> String {
        mailbox(&self.account, &self.login)
    }
}

/// The mailbox of a login, by the first protocol that its account allows.
fn mailbox(account: &Account, login: &str) -> String {
    let allowed = |protocol: &&Protocol| account.protocols.contain(**protocol);
    let protocol = Protocol::ALL
        .iter()
        .find(allowed)
        .unwrap_or(&Protocol::Imap);
    account.mailbox_of(*protocol, login)
}

impl Device {
    /// Which mailbox the login opens.
    pub fn mailbox(&self) -> String {
        mailbox(&self.account, &self.login)
    }

    /// What the person types.
    pub fn user_code(&self) -> &str {
        self.details.user_code().secret()
    }

    /// Where the person types it.
    pub fn verification_uri(&self) -> &str {
        self.details.verification_uri().as_str()
    }

    /// How long the code is good.
    pub fn expires_in(&self) -> Duration {
        self.details.expires_in().min(LONGEST)
    }
}

/// Begins a consent by a browser that comes back to `redirect`.
pub(in crate::token) fn begin(
    account: Arc<Account>,
    login: &str,
    redirect: &Url,
) -> Result<Pending, Fault> {
    let registration = &account.registration;
    let Some(authorize) = registration.authorize_url.clone() else {
        return Err(wrong_grant(registration));
    };
    let redirect = RedirectUrl::from_url(redirect.clone());
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let client = client_of(registration).set_auth_uri(AuthUrl::from_url(authorize));
    let mut request = client
        .authorize_url(CsrfToken::new_random)
        .set_pkce_challenge(challenge)
        .set_redirect_uri(std::borrow::Cow::Borrowed(&redirect))
        .add_scopes(account.scope().into_iter().map(Scope::new))
        // Whoever is signed in with another account sees the right one offered.
        .add_extra_param("login_hint", login);
    for (name, value) in &registration.provider.consent_parameters {
        request = request.add_extra_param(name, value);
    }
    let (url, state) = request.url();
    Ok(Pending {
        login: login.to_owned(),
        redirect,
        verifier,
        state: state.secret().clone(),
        url,
        account,
    })
}

/// Redeems the code of a consent and stores what comes.
pub(in crate::token) async fn finish(
    pending: Pending,
    code: &str,
    endpoint: &Endpoint,
    store: &Arc<Store>,
    timeout: Duration,
) -> Result<Consent, Failure> {
    let registration = &pending.account.registration;
    let client = client_of(registration);
    let mut exchange = client
        .exchange_code(AuthorizationCode::new(code.to_owned()))
        .set_pkce_verifier(pending.verifier)
        .set_redirect_uri(std::borrow::Cow::Owned(pending.redirect));
    for (name, value) in proof(registration)? {
        exchange = exchange.add_extra_param(name, value);
    }
    let answer = endpoint.answer(exchange.request_async(endpoint).await)?;
    keep(registration, &pending.login, &answer, store, timeout).await
}

/// Begins a consent on another device.
pub(in crate::token) async fn begin_device(
    account: Arc<Account>,
    login: &str,
    endpoint: &Endpoint,
) -> Result<Device, Failure> {
    let registration = &account.registration;
    let Some(url) = registration.device_url.clone() else {
        return Err(Failure::from(wrong_grant(registration)));
    };
    let client =
        client_of(registration).set_device_authorization_url(DeviceAuthorizationUrl::from_url(url));
    let mut request = client
        .exchange_device_code()
        .add_scopes(account.scope().into_iter().map(Scope::new));
    for (name, value) in proof(registration)? {
        request = request.add_extra_param(name, value);
    }
    let details = endpoint.details(request.request_async(endpoint).await)?;
    Ok(Device {
        login: login.to_owned(),
        details,
        account,
    })
}

/// Waits for the other device, asking as often as the endpoint allows, and stores what comes.
pub(in crate::token) async fn finish_device<F>(
    device: &Device,
    endpoint: &Endpoint,
    store: &Arc<Store>,
    timeout: Duration,
    sleep: impl Fn(Duration) -> F,
) -> Result<Consent, Failure>
where
    F: Future<Output = ()>,
{
    let registration = &device.account.registration;
    let client = client_of(registration);
    let mut request = client.exchange_device_access_token(&device.details);
    for (name, value) in proof(registration)? {
        request = request.add_extra_param(name, value);
    }
    let result = request
        .request_async(endpoint, sleep, Some(device.expires_in()))
        .await;
    let answer = match result {
        Ok(answer) => answer,
        Err(RequestTokenError::ServerResponse(refusal)) => {
            let error = refusal.error().to_string();
            let description = refusal.error_description().cloned().unwrap_or_default();
            return Err(Failure::from(device_refused(&error, &description)));
        }
        Err(RequestTokenError::Request(NoAnswer { why, .. })) => return Err(unusable(&why)),
        Err(RequestTokenError::Parse(..) | RequestTokenError::Other(_)) => {
            return Err(unusable("the token endpoint's answer is no OAuth answer"));
        }
    };
    keep(registration, &device.login, &answer, store, timeout).await
}

/// RFC 8628 §3.5, with Entra's own names.
fn device_refused(error: &str, description: &str) -> Fault {
    let (detail, remedy) = match error {
        "access_denied" | "authorization_declined" => (
            "the person declined",
            "begin anew, and let the mailbox's owner agree",
        ),
        "expired_token" | "code_expired" => (
            "nobody entered the code in time",
            "begin anew, and enter the code within its time",
        ),
        _ => return entra::classify(400, error, description, &[]).fault,
    };
    Fault::new(Kind::GrantRefused, detail).remedy_is(remedy)
}

fn wrong_grant(registration: &Registration) -> Fault {
    Fault::new(
        Kind::GrantRefused,
        format!(
            "the registration {} has the grant {}, which is consented to in another way or not at all",
            registration.name,
            registration.grant.name()
        ),
    )
}

/// Stores a consent. It heals whatever was wrong with the one before.
async fn keep(
    registration: &Registration,
    login: &str,
    answer: &Answer,
    store: &Arc<Store>,
    timeout: Duration,
) -> Result<Consent, Failure> {
    let Some(refresh_token) = refresh_token(answer) else {
        let fault = Fault::new(
            Kind::GrantRefused,
            "the identity provider gave no refresh token, so that the consent would end within the hour",
        );
        return Err(Failure::from(fault.remedy_is(
            "ask for offline access: the scope offline_access, where the provider has it",
        )));
    };
    let identity = identity(answer);
    let mut record = Record::new(
        &registration.client_id,
        refresh_token,
        identity.clone(),
        answer.granted(),
    );
    record.obtained(&Grant::from(answer));
    let _lock = store.lock(login, timeout).await?;
    store.save(login, &record).await?;
    Ok(Consent { identity })
}

/// Who signed in, by the claims of the id token or else the access token. The claims are not
/// verified: they came over TLS from the endpoint itself, and serve to warn alone.
fn identity(answer: &Answer) -> Option<String> {
    let tokens = [answer.id_token(), Some(answer.token())];
    tokens.into_iter().flatten().find_map(|token| {
        let claims = claims(token)?;
        ["upn", "preferred_username", "unique_name", "email"]
            .iter()
            .find_map(|name| claims.get(name)?.as_str().map(str::to_lowercase))
            .map(|name| harmless(&name))
            .filter(|name| name.contains('@'))
    })
}

/// The claims of a JWT, unverified; `None` for opaque tokens.
pub fn claims(token: &str) -> Option<serde_json::Value> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload.trim_end_matches('='))
        .ok()?;
    serde_json::from_slice(&payload).ok()
}
