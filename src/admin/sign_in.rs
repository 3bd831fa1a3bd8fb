//! Sign-in and logout of a browser, whose session is a cookie: by a token that is typed in, or by
//! OpenID Connect (`/oidc/start`, `/oidc/callback`).
//!
//! The session's cookie is SameSite=Lax. It is set while the browser follows the identity
//! provider's redirect, and with Strict the browser would not send it on the way from there to the
//! page. With Lax, another site can only make a browser follow a link, which changes nothing;
//! `access` refuses other sites' requests that change something, whatever the cookie.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use askama::Template;
use axum::extract::{Extension, Form, Query, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{HeaderMap, LOCATION, SET_COOKIE};
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use serde::Deserialize;
use tokio::time::Instant;

use super::auth::{COOKIE_NAME, Caller, SESSION_COOKIE, SIGN_IN_COOKIE, cookies};
use super::page::rendered;
use super::people::{self, SignInService};
use super::state::AdminState;
use crate::fault::{Fault, Kind, sanitize};
use crate::oidc::{Identity, LIFETIME, SignIn};
use crate::secret::Secret;
use crate::token::authorizations::parameter;

/// Maximum number of groups that the page of a person without a role shows.
const SHOWN: usize = 20;

/// Page on which people sign in.
#[derive(Template)]
#[template(path = "login.html")]
struct LogIn<'a> {
    base: &'a str,
    /// Address at which a sign-in by OpenID Connect begins, and the identity provider's host.
    sign_in: Option<(String, String)>,
    wrong: bool,
    /// Reason why the last sign-in failed, and the remedy.
    failure: Option<(String, String)>,
}

/// Page that says why a sign-in began no session.
#[derive(Template)]
#[template(path = "message.html")]
struct Message<'a> {
    base: &'a str,
    title: &'a str,
    text: String,
    more: String,
    /// Groups that the identity provider named.
    groups: Vec<String>,
    /// Address at which to start again, and the text of its link.
    link: (String, &'a str),
}

/// Renders the page on which people sign in, for requests without a credential.
pub(super) fn log_in(state: &AdminState) -> Response {
    ways_in(state, StatusCode::UNAUTHORIZED, false, None)
}

fn ways_in(
    state: &AdminState,
    status: StatusCode,
    wrong: bool,
    failure: Option<&Fault>,
) -> Response {
    let service = state.people.service();
    let page = LogIn {
        base: state.auth.base(),
        sign_in: service.map(|service| (start_of(state), service.provider.host())),
        wrong,
        failure: failure.map(|fault| {
            let remedy = fault.remedy().unwrap_or_default();
            (fault.detail().to_owned(), remedy.to_owned())
        }),
    };
    rendered(status, &page)
}

/// Address at which a sign-in begins: below `public_url`, where it ends, so that the cookie is sent.
fn start_of(state: &AdminState) -> String {
    state.auth.public("/oidc/start")
}

#[derive(Deserialize)]
pub(super) struct GivenToken {
    token: String,
}

/// Signs in by a token: the browser gets a cookie that is derived from it.
pub(super) async fn logged_in(
    State(state): State<Arc<AdminState>>,
    Extension(client): Extension<SocketAddr>,
    headers: HeaderMap,
    Form(given): Form<GivenToken>,
) -> Response {
    let Some(cookie) = state.auth.cookie(&Secret::from(given.token.trim())) else {
        let what = "a wrong admin token was given in the browser";
        if state.fault_log.allows_rejection(client.ip(), what) {
            tracing::warn!(client = %client.ip(), "{what}");
        }
        return ways_in(&state, StatusCode::FORBIDDEN, true, None);
    };
    end_session(&state, &headers);
    see_page(&state, [cookie, state.auth.no_cookie(SESSION_COOKIE)])
}

/// Logs out: ends the session and deletes the cookies in the browser.
pub(super) async fn log_out(
    State(state): State<Arc<AdminState>>,
    caller: Option<Extension<Caller>>,
    headers: HeaderMap,
) -> Response {
    end_session(&state, &headers);
    if let Some(Extension(caller)) = caller {
        tracing::info!(person = caller.name, "logged out");
        if caller.is_person {
            let service = state.current.active();
            service.record_action(&caller.name, "sign_out", None, "accepted");
        }
    }
    let cookies = [COOKIE_NAME, SESSION_COOKIE].map(|name| state.auth.no_cookie(name));
    see_page(&state, cookies)
}

/// Ends the session that a browser has, if it has one.
fn end_session(state: &AdminState, headers: &HeaderMap) {
    for id in cookies(headers, SESSION_COOKIE) {
        state.people.end(id);
    }
}

fn see_page<const N: usize>(state: &AdminState, cookies: [String; N]) -> Response {
    let page = format!("{}/", state.auth.base());
    let cookies = AppendHeaders(cookies.map(|cookie| (SET_COOKIE, cookie)));
    (StatusCode::SEE_OTHER, [(LOCATION, page)], cookies).into_response()
}

#[derive(Deserialize)]
pub(super) struct Begin {
    /// Any value: the identity provider lets the person choose an account.
    other: Option<String>,
}

/// Sends a browser to the identity provider.
pub(super) async fn start(
    State(state): State<Arc<AdminState>>,
    Extension(client): Extension<SocketAddr>,
    Query(begin): Query<Begin>,
) -> Response {
    let Some(service) = state.people.service() else {
        return no_users();
    };
    let Ok(_permit) = state.people.waiting.try_acquire() else {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return ways_in(&state, status, false, Some(&busy()));
    };
    let begun = service
        .provider
        .begin(begin.other.is_some(), SystemTime::now());
    match begun.await {
        Ok((url, sign_in)) => {
            let Some(sealed) = state.people.seal.seal(&sign_in) else {
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            };
            let cookie = state.auth.sign_in_cookie(&sealed, LIFETIME);
            let headers = [(LOCATION, String::from(url)), (SET_COOKIE, cookie)];
            (StatusCode::SEE_OTHER, headers).into_response()
        }
        Err(fault) => {
            state.log_fault(client, &fault, "no one can sign in");
            ways_in(&state, StatusCode::SERVICE_UNAVAILABLE, false, Some(&fault))
        }
    }
}

/// Completes a sign-in when the identity provider redirects the browser back.
pub(super) async fn callback(
    State(state): State<Arc<AdminState>>,
    Extension(client): Extension<SocketAddr>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let Some(service) = state.people.service() else {
        return no_users();
    };
    let query = query.unwrap_or_default();
    let sign_in = match take_sign_in(&state, &headers, &query) {
        Ok(sign_in) => sign_in,
        Err(fault) => return not_signed_in(&state, &fault),
    };
    let result = match code(&service, &query) {
        Ok(code) => match state.people.waiting.try_acquire() {
            Ok(_permit) => service.provider.redeem(sign_in, &code).await,
            Err(_) => Err(busy()),
        },
        Err(fault) => Err(fault),
    };
    match result {
        Ok(identity) => signed_in(&state, &service, &headers, identity),
        Err(fault) => {
            state.log_fault(client, &fault, "not signed in");
            not_signed_in(&state, &fault)
        }
    }
}

/// Takes the sign-in that this browser began; it can be taken once.
fn take_sign_in(state: &AdminState, headers: &HeaderMap, query: &str) -> Result<SignIn, Fault> {
    let given = parameter(query, "state");
    let now = SystemTime::now();
    let sign_in = cookies(headers, SIGN_IN_COOKIE)
        .filter_map(|cookie| state.people.seal.open(cookie))
        .find(|sign_in| sign_in.is_of(&given, now));
    let Some(sign_in) = sign_in else {
        return Err(Fault::new(
            Kind::GrantRefused,
            "this browser did not start this sign-in, or has started another one since, or the ten minutes are over, or the relay was restarted",
        )
        .with_remedy("sign in again, in one window; cookies must be allowed"));
    };
    match state.people.is_first_use(&given, Instant::now()) {
        true => Ok(sign_in),
        false => {
            let fault = Fault::new(Kind::GrantRefused, "this sign-in was used already");
            Err(fault.with_remedy("sign in again"))
        }
    }
}

/// Returns the code of the redirect, or the identity provider's error.
fn code(service: &SignInService, query: &str) -> Result<String, Fault> {
    let refused = |detail: String| Fault::new(Kind::GrantRefused, detail);
    let issuer = parameter(query, "iss");
    if !issuer.is_empty() && issuer != service.users.issuer {
        // RFC 9207 §2.4.
        return Err(refused(format!(
            "the answer comes from another issuer: {issuer}"
        )));
    }
    let error = parameter(query, "error");
    if !error.is_empty() {
        let description = parameter(query, "error_description");
        let fault = refused(format!(
            "the identity provider refused the sign-in: {error} {description}"
        ));
        return Err(match &*error {
            "access_denied" => fault.with_remedy(
                "the person must agree, and must be assigned to the relay's application if the identity provider requires that",
            ),
            _ => fault.with_remedy("sign in again; if the problem persists, check the relay's registration at the identity provider"),
        });
    }
    match parameter(query, "code") {
        code if code.is_empty() => Err(refused(
            "the identity provider sent neither a code nor an error".to_owned(),
        )),
        code => Ok(code),
    }
}

/// Begins the session of a person with a role.
fn signed_in(
    state: &AdminState,
    service: &Arc<SignInService>,
    headers: &HeaderMap,
    identity: Identity,
) -> Response {
    let person = identity.name();
    let audit = state.current.active();
    let Some(role) = people::role(&service.users, &identity) else {
        tracing::warn!(person, "signed in without a role in admin.users");
        audit.record_action(&person, "sign_in", None, "refused");
        return no_role(state, &identity);
    };
    end_session(state, headers);
    let identity = identity.without_other_groups(&service.users);
    let Some(id) = state.people.begin(service, identity, Instant::now()) else {
        let detail = "the configuration was reloaded in the meantime";
        let fault = Fault::new(Kind::Unavailable, detail);
        return not_signed_in(state, &fault.with_remedy("sign in again"));
    };
    tracing::info!(person, role = role.name(), "signed in");
    audit.record_action(&person, "sign_in", None, "accepted");
    let cookies = [
        state.auth.session_cookie(&id),
        state.auth.no_cookie(COOKIE_NAME),
        state.auth.no_cookie(SIGN_IN_COOKIE),
    ];
    see_page(state, cookies)
}

/// Page for a person whom `admin.users` does not list.
fn no_role(state: &AdminState, identity: &Identity) -> Response {
    let name = identity.name();
    let missing = match identity.address() {
        Some(address) => format!("{address} or one of your groups"),
        None => "one of your groups".to_owned(),
    };
    let mut more = format!(
        "Ask an administrator of this relay to write {missing} into admin.users.viewers or admin.users.operators."
    );
    if identity.has_groups_elsewhere() {
        more.push_str(" The identity provider left your groups out, since there are too many: set it to send only groups that are assigned to the application.");
    } else if identity.groups().is_empty() {
        more.push_str(" The identity provider sent no groups.");
    }
    let groups = identity.groups().iter().take(SHOWN);
    let page = Message {
        base: state.auth.base(),
        title: "Signed in, but not allowed here",
        text: format!("You are {name}, who is neither a viewer nor an operator of this relay."),
        more,
        groups: groups.map(|group| sanitize(group)).collect(),
        link: (start_of(state) + "?other=1", "Sign in with another account"),
    };
    message(state, StatusCode::FORBIDDEN, &page)
}

fn not_signed_in(state: &AdminState, fault: &Fault) -> Response {
    let status = match fault.kind() {
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    let page = Message {
        base: state.auth.base(),
        title: "Not signed in",
        text: fault.detail().to_owned(),
        more: fault.remedy().unwrap_or_default().to_owned(),
        groups: Vec::new(),
        link: (state.auth.public("/"), "Back to the sign-in page"),
    };
    message(state, status, &page)
}

fn message(state: &AdminState, status: StatusCode, page: &Message<'_>) -> Response {
    let cookie = [(SET_COOKIE, state.auth.no_cookie(SIGN_IN_COOKIE))];
    (cookie, rendered(status, page)).into_response()
}

fn no_users() -> Response {
    let text = "sign-in is not set up: the file has no admin.users\n";
    (StatusCode::NOT_FOUND, text).into_response()
}

fn busy() -> Fault {
    let detail = "too many sign-ins are waiting for the identity provider";
    Fault::new(Kind::Unavailable, detail).with_remedy("try again in a moment")
}
