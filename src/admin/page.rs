//! `/`: the status page, with the content of `/api/…` as HTML. It is complete without its script,
//! which adds the buttons for actions and refreshes the tables.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};
use qrcode::QrCode;
use qrcode::render::svg;
use serde::Deserialize;

use super::auth::{Caller, Role};
use super::state::AdminState;
use crate::config::{Listener, ListenerTls};
use crate::fault::Side;
use crate::session;
use crate::status;

/// Maximum number of rows of a table; a filter by name shows others.
const ROWS: usize = 200;

/// Height of the plot of faults, and the width of one of its bars.
const HEIGHT: u32 = 60;
const BAR: usize = 6;

#[derive(Template)]
#[template(path = "status.html")]
struct Status {
    base: String,
    /// Whether buttons that change something are shown.
    operator: bool,
    caller: Caller,
    version: &'static str,
    draining: bool,
    /// Name of this relay among several, if it is one of several.
    relays: Option<Relays>,
    find: String,
    /// Whether the file has no account yet.
    is_new: bool,
    accounts: Vec<status::AccountStatus>,
    more_accounts: usize,
    sessions: Vec<session::SessionStatus>,
    more_sessions: usize,
    listeners: Vec<Arc<Listener>>,
    plot: Plot,
}

/// Status of the relays that share a store, for the page.
struct Relays {
    name: String,
    count: usize,
    /// Reason why the store does not answer.
    away: Option<String>,
}

/// Faults of the last hours, stacked by the side to blame.
struct Plot {
    total: u32,
    width: usize,
    height: u32,
    bars: Vec<Bar>,
    sides: Vec<(&'static str, u32)>,
}

struct Bar {
    x: usize,
    y: u32,
    height: u32,
    side: &'static str,
    count: u32,
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    find: String,
}

/// Renders the status page for people.
pub(super) async fn status(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Query(Wanted { find }): Query<Wanted>,
) -> Response {
    // Reading the store blocks, which must not happen on the threads that relay.
    blocking(move || rendered(StatusCode::OK, &page(&state, caller, find))).await
}

/// Makes a response on a thread for blocking work.
pub(super) async fn blocking(make: impl FnOnce() -> Response + Send + 'static) -> Response {
    let failed = |_| StatusCode::INTERNAL_SERVER_ERROR.into_response();
    let made = tokio::task::spawn_blocking(make);
    made.await.unwrap_or_else(failed)
}

/// Renders a page.
pub(super) fn rendered(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn page(state: &AdminState, caller: Caller, find: String) -> Status {
    let service = state.current.active();
    let wanted = find.trim().to_lowercase();
    let mut accounts = status::accounts(&service);
    accounts.retain(|row| row.login.contains(&wanted) || row.mailbox.contains(&wanted));
    let more_accounts = accounts.len().saturating_sub(ROWS);
    accounts.truncate(ROWS);
    let mut sessions = service.state.sessions.rows(status::rfc3339);
    let more_sessions = sessions.len().saturating_sub(ROWS);
    sessions.truncate(ROWS);
    Status {
        base: state.auth.base().to_owned(),
        operator: caller.role == Role::Operator,
        caller,
        version: env!("CARGO_PKG_VERSION"),
        draining: service.state.drain.is_cancelled(),
        relays: service.state.sharing.as_ref().map(|sharing| Relays {
            name: sharing.member().name().to_owned(),
            count: sharing.member().relays(),
            away: sharing.state().err(),
        }),
        find,
        is_new: service.accounts.is_empty(),
        accounts,
        more_accounts,
        sessions,
        more_sessions,
        listeners: service.listeners.to_vec(),
        plot: plot(&service.state.history.recent()),
    }
}

fn plot(quarters: &[[u32; Side::ALL.len()]]) -> Plot {
    let highest = quarters.iter().map(|quarter| quarter.iter().sum()).max();
    let highest: u32 = highest.unwrap_or(0).max(1);
    let mut bars = Vec::new();
    for (index, quarter) in quarters.iter().enumerate() {
        let mut y = HEIGHT;
        for (side, count) in Side::ALL.iter().zip(quarter) {
            if *count == 0 {
                continue;
            }
            // A single fault among thousands stays visible.
            let height = (u64::from(*count) * u64::from(HEIGHT) / u64::from(highest)).max(2);
            let height = u32::try_from(height).unwrap_or(HEIGHT);
            y = y.saturating_sub(height);
            bars.push(Bar {
                x: index * BAR,
                y,
                height,
                side: side.name(),
                count: *count,
            });
        }
    }
    let mut sides = Vec::new();
    for (index, side) in Side::ALL.iter().enumerate() {
        let count = quarters
            .iter()
            .filter_map(|quarter| quarter.get(index))
            .sum();
        sides.push((side.name(), count));
    }
    Plot {
        total: sides.iter().map(|(_, count)| count).sum(),
        width: quarters.len() * BAR,
        height: HEIGHT,
        bars,
        sides,
    }
}

impl Status {
    fn tls(listener: &Listener) -> &'static str {
        match &listener.tls {
            ListenerTls::None => "none",
            ListenerTls::StartTls(_) => "starttls",
            ListenerTls::Implicit(_) => "implicit",
        }
    }

    fn moment(time: &str) -> String {
        moment(time)
    }
}

/// Shortens a time such as `2026-11-25T08:46:32Z` for people.
pub(super) fn moment(time: &str) -> String {
    time.replace('T', " ").replace('Z', " UTC")
}

#[derive(Deserialize)]
pub(super) struct Text {
    text: String,
}

/// Draws a text as a QR code.
pub(super) async fn qr(Query(Text { text }): Query<Text>) -> Response {
    match QrCode::new(text.as_bytes()) {
        Ok(code) => {
            let image = code
                .render::<svg::Color<'_>>()
                .min_dimensions(220, 220)
                .build();
            ([("content-type", "image/svg+xml")], image).into_response()
        }
        Err(_) => StatusCode::URI_TOO_LONG.into_response(),
    }
}

/// Serves the script of the status page.
pub(super) async fn script() -> Response {
    let script = include_str!("../../templates/app.js");
    ([("content-type", "text/javascript; charset=utf-8")], script).into_response()
}

/// Serves the style sheet of all pages.
pub(super) async fn style() -> impl axum::response::IntoResponse {
    let sheet = include_str!("../../templates/style.css");
    ([("content-type", "text/css; charset=utf-8")], sheet)
}
