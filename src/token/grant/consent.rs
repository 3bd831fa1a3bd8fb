//! Consent of a user in a browser (RFC 6749 §4.1 with RFC 7636), and storage of every consent. It
//! is stored before success is reported.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use oauth2::basic::BasicClient;
use oauth2::{AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, RedirectUrl, Scope};
use url::Url;

use super::super::answer::AccessTokenResponse;
use super::super::endpoint::Endpoint;
use super::super::failure::{Class, TokenError};
use super::super::issued::now_ms;
use super::super::sharing::SharedAuthorization;
use super::super::store::{Kept, Owner, Store, StoredConsent};
use super::form::Form;
use crate::cluster::number::Number;
use crate::config::{Account, Grant as Configured, Registration};
use crate::fault::{sanitize, shell_argument};

/// A consent that was requested but not given yet.
pub struct AuthorizationRequest {
    pub(in crate::token) account: Arc<Account>,
    /// Data with which any relay can complete the authorization.
    pub(in crate::token) shared: SharedAuthorization,
}

/// A consent that was given and stored.
#[derive(Debug, Clone)]
pub struct Consent {
    /// Login of the consent.
    pub login: String,
    /// Mailbox that the login opens.
    pub mailbox: String,
    /// User who signed in, if the token names one.
    pub identity: Option<String>,
}

impl Consent {
    /// Warning about a user who is not the mailbox's owner: correct for a delegate of a shared mailbox,
    /// otherwise the usual mistake.
    pub fn warning(&self) -> Option<String> {
        let (other, mailbox) = (self.identity.as_deref()?, &self.mailbox);
        (!other.eq_ignore_ascii_case(mailbox)).then(|| format!(
            "{other} signed in, and the mailbox is {mailbox}. That is right only if {other} has full access to it \
             (a shared mailbox). If not, sign out at the identity provider, authorize again, and sign in as {mailbox}."
        ))
    }

    pub(in crate::token) fn log(&self) {
        tracing::info!(
            login = self.login,
            mailbox = self.mailbox,
            identity = self.identity,
            "consent given"
        );
        if let Some(warning) = self.warning() {
            tracing::warn!(login = self.login, "{warning}");
        }
    }
}

/// Begins a consent in a browser that returns to `redirect`. Returns the URL to which to send the
/// user, and the `state` that returns with the code, known only to that user.
pub(in crate::token) fn start(
    account: Arc<Account>,
    login: &str,
    redirect: &Url,
) -> Result<(AuthorizationRequest, Url, String), TokenError> {
    let registration = &account.registration;
    let Some(authorize) = registration.authorize_url.clone() else {
        return Err(wrong_grant(registration));
    };
    let redirect = RedirectUrl::from_url(redirect.clone());
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let client = BasicClient::new(ClientId::new(registration.client_id.clone()))
        .set_auth_uri(AuthUrl::from_url(authorize));
    let mut request = client
        .authorize_url(CsrfToken::new_random)
        .set_pkce_challenge(challenge)
        .set_redirect_uri(std::borrow::Cow::Borrowed(&redirect))
        .add_scopes(account.scope().into_iter().map(Scope::new))
        // Preselects the right account for users who are signed in with another.
        .add_extra_param("login_hint", login);
    for (name, value) in &registration.provider.preset.consent_parameters {
        request = request.add_extra_param(name, value);
    }
    let (url, state) = request.url();
    let shared = SharedAuthorization {
        login: login.to_owned(),
        redirect: redirect.to_string(),
        verifier: verifier.secret().clone(),
    };
    let request = AuthorizationRequest { account, shared };
    Ok((request, url, state.secret().clone()))
}

/// Redeems the code of a consent and stores the result.
pub(in crate::token) async fn complete(
    pending: AuthorizationRequest,
    code: &str,
    endpoint: &Endpoint,
    store: &Arc<Store>,
    timeout: Duration,
) -> Result<Consent, TokenError> {
    let AuthorizationRequest { account, shared } = pending;
    let registration = &account.registration;
    let mut form = Form::of_client(registration, None)?;
    form.extend(&[
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", &shared.redirect),
        ("code_verifier", &shared.verifier),
    ]);
    let answer = endpoint.token(registration, &form.pairs()).await?;
    keep(&account, &shared.login, &answer, store, timeout).await
}

pub(super) fn wrong_grant(registration: &Registration) -> TokenError {
    TokenError::new(
        Class::Attention,
        format!(
            "the registration {} has the grant {}, which requires another kind of consent, or none",
            registration.name,
            registration.grant.name()
        ),
    )
}

/// Stores a consent. It replaces any consent with a problem, and a good one only if the same user
/// or the mailbox's owner has signed in.
pub(super) async fn keep(
    account: &Account,
    login: &str,
    answer: &AccessTokenResponse,
    store: &Arc<Store>,
    timeout: Duration,
) -> Result<Consent, TokenError> {
    let registration = &account.registration;
    let Some(refresh_token) = answer.refresh_token() else {
        return Err(not_lasting(account, answer));
    };
    let identity = identity(answer);
    let mailbox = account.first_mailbox(login);
    let owner = Owner::of(registration);
    let mut record = StoredConsent::new(
        &owner,
        refresh_token.clone(),
        identity.clone(),
        answer.granted(),
    );
    record.obtained(&answer.grant());
    let _turn = store.lock_written(login, timeout).await?;
    // An unreadable record may be replaced.
    let kept = store.load_kept(login).await.ok().flatten();
    let highest = kept.as_ref().map(Kept::number);
    record.number = Number::of_act(now_ms(), highest);
    let before = kept.and_then(Kept::into_record);
    if let (Some(new), Some(before)) = (&identity, &before)
        && let Some(good) = before.clone().of(&owner)
        && let Some(old) = good.valid_identity()
        && !new.eq_ignore_ascii_case(&mailbox)
        && !new.eq_ignore_ascii_case(old)
    {
        return Err(another_person(login, &mailbox, old, new));
    }
    if let Some(before) = before {
        // The user is unknown, so the mail service decides whether it was the right one.
        if let (None, Some(own)) = (&identity, before.clone().of(&owner)) {
            record.replaces(own);
        }
        record.keeps(before);
    }
    store.save(login, &record).await?;
    Ok(Consent {
        login: login.to_owned(),
        mailbox,
        identity,
    })
}

/// Failure: the consent would end with its access token, so nothing is stored.
fn not_lasting(account: &Account, answer: &AccessTokenResponse) -> TokenError {
    let registration = &account.registration;
    let offline = &registration.provider.preset.scopes.offline;
    let asked = account.scope();
    let remedy = if offline.iter().any(|scope| !asked.contains(scope)) {
        format!(
            "add {} to the registration's scope, or leave scope out; then authorize again",
            offline.join(" ")
        )
    } else if matches!(registration.grant, Configured::DeviceCode(_)) {
        "the tenant's security defaults or a Conditional Access policy give no refresh token to device codes: use the grant authorization_code, or exclude the application".to_owned()
    } else {
        "the identity provider must allow offline access for this application: check its permissions and policies".to_owned()
    };
    let minutes = answer.grant().lifetime.as_secs() / 60;
    TokenError::new(
        Class::Attention,
        format!("the identity provider gave no refresh token, so the consent would expire in {minutes} minutes; nothing was stored"),
    )
    .remedy(remedy)
}

fn another_person(login: &str, mailbox: &str, old: &str, new: &str) -> TokenError {
    TokenError::new(
        Class::Attention,
        format!("{new} signed in, and the consent that {old} gave for {mailbox} is good; it was not replaced"),
    )
    .remedy(format!(
        "sign out at the identity provider, authorize again and sign in as {mailbox}; if {new} shall open it from now on, run `authrelay forget {}` first",
        shell_argument(login)
    ))
}

/// Finds the user who signed in, from the claims of the id token or the access token.
fn identity(answer: &AccessTokenResponse) -> Option<String> {
    let tokens = [answer.id_token.as_ref(), Some(&answer.access_token)];
    let mut tokens = tokens.into_iter().flatten();
    tokens.find_map(|token| person(token.expose()))
}

/// Returns the user named in a token. The claims are not verified, since the token came over TLS
/// from the endpoint and they only serve for warnings.
pub fn person(token: &str) -> Option<String> {
    let claims = claims(token)?;
    ["upn", "preferred_username", "unique_name", "email"]
        .iter()
        .find_map(|name| claims.get(name)?.as_str().map(str::to_lowercase))
        .map(|name| sanitize(&name))
        .filter(|name| name.contains('@'))
}

/// Returns the claims of a JWT, unverified; `None` for opaque tokens.
pub fn claims(token: &str) -> Option<serde_json::Value> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload.trim_end_matches('='))
        .ok()?;
    serde_json::from_slice(&payload).ok()
}
