//! `/oauth/callback`: a person comes back from the identity provider and reads what came of it.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::door;
use crate::consent::{Consents, Given};
use crate::fault::Fault;
use crate::token::Broker;

#[derive(Template)]
#[template(path = "callback.html")]
struct Page<'a> {
    title: &'a str,
    good: bool,
    text: String,
    more: String,
}

/// Finishes the consent; what came of it, and the page that says so.
pub(super) async fn finish(
    consents: &Consents,
    broker: &Broker,
    query: &str,
) -> (Result<Given, Fault>, Response) {
    let result = consents.finish(broker, query).await;
    let page = match &result {
        Ok(given) => Page {
            title: "Authorized",
            good: given.somebody_else().is_none(),
            text: format!(
                "authrelay may now open the mailbox {} for the login {}. You can close this window.",
                given.mailbox, given.login
            ),
            more: given.warning().unwrap_or_default(),
        },
        Err(fault) => {
            tracing::warn!(
                fault = %fault.kind(),
                detail = fault.detail(),
                remedy = fault.remedy(),
                "no consent"
            );
            Page {
                title: "Not authorized",
                good: false,
                text: fault.detail().to_owned(),
                more: fault.remedy().unwrap_or_default().to_owned(),
            }
        }
    };
    let status = match &result {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::BAD_REQUEST,
    };
    let response = match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    (result, response)
}

/// Serves until one consent that was begun here came to something.
pub(super) async fn once(
    socket: TcpListener,
    consents: Arc<Consents>,
    broker: Arc<Broker>,
) -> Result<Given, Fault> {
    let (sender, mut receiver) = mpsc::channel(1);
    let handler = move |RawQuery(query): RawQuery| {
        let (consents, broker, sender) = (consents.clone(), broker.clone(), sender.clone());
        async move {
            let (result, response) = finish(&consents, &broker, &query.unwrap_or_default()).await;
            let _ = sender.try_send(result);
            response
        }
    };
    let router = Router::new().route("/oauth/callback", get(handler));
    let serve = door::serve(socket, None, router);
    tokio::pin!(serve);
    let result = tokio::select! {
        () = &mut serve => None,
        result = receiver.recv() => result,
    };
    // The page is still on its way to the browser.
    let _ = tokio::time::timeout(std::time::Duration::from_millis(500), serve).await;
    result.unwrap_or_else(|| {
        Err(Fault::new(
            crate::fault::Kind::Internal,
            "nothing came back",
        ))
    })
}
