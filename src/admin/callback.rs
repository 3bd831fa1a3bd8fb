//! `/oauth/callback`: completes a consent when the identity provider redirects the browser back, and
//! shows the result.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::http;
use super::page::rendered;
use crate::fault::{Fault, Kind};
use crate::token::authorizations::PendingAuthorizations;
use crate::token::{Consent, TokenSource};

#[derive(Template)]
#[template(path = "callback.html")]
struct Page<'a> {
    base: &'a str,
    title: &'a str,
    good: bool,
    text: String,
    more: String,
}

/// Page with the result of a consent; `verdict` is the mail service's refusal, if it refused.
pub(super) fn page(
    base: &str,
    result: &Result<Consent, Fault>,
    verdict: Option<String>,
) -> Response {
    let (status, page) = match result {
        Ok(given) => {
            let warning = given.warning().or(verdict);
            let page = Page {
                base,
                title: "Authorized",
                good: warning.is_none(),
                text: format!(
                    "authrelay may now open the mailbox {} for the login {}. You can close this window.",
                    given.mailbox, given.login
                ),
                more: warning.unwrap_or_default(),
            };
            (StatusCode::OK, page)
        }
        Err(fault) => {
            let page = Page {
                base,
                title: "Not authorized",
                good: false,
                text: fault.detail().to_owned(),
                more: fault.remedy().unwrap_or_default().to_owned(),
            };
            (StatusCode::BAD_REQUEST, page)
        }
    };
    rendered((status, ()), &page)
}

/// Serves only `/oauth/callback` until one consent has ended, for `authorize` where no
/// relay runs.
///
/// # Errors
///
/// The fault that the person's page also shows.
pub async fn one_callback(
    socket: TcpListener,
    consents: Arc<PendingAuthorizations>,
    token_source: Arc<TokenSource>,
) -> Result<Consent, Fault> {
    let (sender, mut receiver) = mpsc::channel(1);
    let path = consents.redirect().path().to_owned();
    let base = path.trim_end_matches("/oauth/callback").to_owned();
    let styled = format!("{base}/style.css");
    let handler = move |RawQuery(query): RawQuery| {
        let (consents, token_source, sender) =
            (consents.clone(), token_source.clone(), sender.clone());
        let base = base.clone();
        async move {
            let query = query.unwrap_or_default();
            // Any program on this machine can request the page.
            let is_awaited = consents.is_awaited(&query);
            let result = consents.finish(&token_source, &query).await;
            let response = page(&base, &result, None);
            if is_awaited {
                let _ = sender.try_send(result);
            }
            response
        }
    };
    let router = Router::new()
        .route(&path, get(handler))
        .route(&styled, get(super::page::style));
    let serve = http::serve(socket, None, router);
    tokio::pin!(serve);
    let result = tokio::select! {
        () = &mut serve => None,
        result = receiver.recv() => result,
    };
    // The page is still on its way to the browser.
    let _ = tokio::time::timeout(std::time::Duration::from_millis(500), serve).await;
    result.unwrap_or_else(|| Err(Fault::new(Kind::Internal, "nothing came back")))
}
