//! `/audit`: a page with the last audit records and the state of their hash chain.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::auth::Caller;
use super::page::{blocking, moment, rendered};
use super::state::AdminState;
use crate::audit::{self, Event, Filter, Row, Tail};
use crate::config::AuditPath;
use crate::text::counted;

/// Maximum number of rows of the table.
const ROWS: usize = 200;

/// Maximum length of the search text, in characters.
const FILTER_CAP: usize = 200;

/// Maximum number of breaks of the chain that are shown.
const BREAKS: usize = 10;

/// Outcomes, in the order in which they are offered.
const OUTCOMES: [&str; 5] = ["accepted", "relayed", "refused", "failed", "cancelled"];

/// Events, in the order in which they are offered.
const EVENTS: [Event; 6] = [
    Event::Login,
    Event::Session,
    Event::Messages,
    Event::Action,
    Event::Head,
    Event::Dropped,
];

#[derive(Template)]
#[template(path = "audit.html")]
struct Page {
    base: String,
    caller: Caller,
    wanted: Wanted,
    events: Vec<&'static str>,
    outcomes: [&'static str; 5],
    content: Content,
}

/// Records of the file, or the reason why none can be shown.
enum Content {
    /// Reason why nothing can be shown, and the remedy.
    Nothing(String, String),
    Records {
        path: String,
        tail: Tail,
        is_signed: bool,
        is_failing: bool,
    },
}

/// Filter as it was typed in.
#[derive(Deserialize, Default)]
pub(super) struct Wanted {
    #[serde(default)]
    login: String,
    #[serde(default)]
    event: String,
    #[serde(default)]
    outcome: String,
    #[serde(default)]
    text: String,
}

impl Wanted {
    fn is_empty(&self) -> bool {
        [&self.login, &self.event, &self.outcome, &self.text]
            .iter()
            .all(|text| text.trim().is_empty())
    }

    fn filter(&self) -> Filter {
        let text = |text: &str| {
            text.trim()
                .to_lowercase()
                .chars()
                .take(FILTER_CAP)
                .collect()
        };
        Filter {
            login: text(&self.login),
            event: text(&self.event),
            outcome: text(&self.outcome),
            text: text(&self.text),
        }
    }
}

/// Renders the page of audit records.
pub(super) async fn audit(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Query(wanted): Query<Wanted>,
) -> Response {
    // Each request reads megabytes.
    let Ok(permit) = state.readings.clone().acquire_owned().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    blocking(move || {
        let _permit = permit;
        rendered(StatusCode::OK, &page(&state, caller, wanted))
    })
    .await
}

fn page(state: &AdminState, caller: Caller, wanted: Wanted) -> Page {
    Page {
        base: state.auth.base().to_owned(),
        caller,
        content: content(state, &wanted),
        wanted,
        events: EVENTS.iter().map(|event| event.name()).collect(),
        outcomes: OUTCOMES,
    }
}

fn content(state: &AdminState, wanted: &Wanted) -> Content {
    let nothing = |why: &str, remedy: &str| Content::Nothing(why.into(), remedy.into());
    let service = state.current.active();
    let Some(audit) = &service.audit else {
        return nothing(
            "No audit records are kept: the file has no audit section.",
            "Write audit: {path: ./state/audit.jsonl} into it and restart the relay.",
        );
    };
    let path = match audit.path() {
        Some(AuditPath::File(path)) => path,
        Some(AuditPath::Stdout) => {
            return nothing(
                "Audit records go to standard output (audit.path is \"-\"), where they cannot be read back.",
                "Look where the output of the relay is kept, or write the path of a file into audit.path and restart the relay.",
            );
        }
        None => {
            return nothing(
                "Audit records are sent elsewhere (audit.syslog, audit.http), and no file is kept here.",
                "Look there, or set audit.path as well and restart the relay.",
            );
        }
    };
    match audit::tail(path, &wanted.filter(), ROWS) {
        Ok(tail) => Content::Records {
            path: path.display().to_string(),
            tail,
            is_signed: audit.is_signed(),
            is_failing: audit.is_failing(),
        },
        Err(error) => Content::Nothing(
            format!("{} cannot be read: {error}.", path.display()),
            "The relay's user must be able to read it; where it is a pipe, look at its reader."
                .into(),
        ),
    }
}

impl Page {
    fn moment(time: &str) -> String {
        // Without the milliseconds.
        match time.split_once('.') {
            Some((seconds, _)) => moment(seconds) + " UTC",
            None => moment(time),
        }
    }

    /// Login or person of a record.
    fn who(row: &Row) -> &str {
        let who = row.text("person").or_else(|| row.text("login"));
        who.unwrap_or_default()
    }

    /// Summary of a record, in a few words.
    fn what(row: &Row) -> String {
        let mut words: Vec<String> = Vec::new();
        let login = row.text("login");
        if let Some(action) = row.text("action") {
            words.push(action.replace('_', " "));
            words.extend(login.map(str::to_owned));
        }
        words.extend(row.text("protocol").map(str::to_uppercase));
        if let Some(mailbox) = row.text("mailbox")
            && Some(mailbox) != login
        {
            words.push(format!("opens {mailbox}"));
        }
        if let Some(name) = row.text("credential") {
            words.push(format!("by the password {name}"));
        }
        match row.message_count() {
            0 => {}
            count => words.push(counted(count, "message")),
        }
        if let (Some(up), Some(down)) = (row.number("bytes_up"), row.number("bytes_down")) {
            words.push(format!("{up} octets up, {down} down"));
        }
        if let Some(count) = row.number("records") {
            words.push(format!("lost: {}", counted(count, "record")));
        }
        if row.text("signature").is_some() {
            words.push("signed head of the chain".into());
        }
        words.extend(row.text("relay").map(|relay| format!("at {relay}")));
        words.join(", ")
    }

    /// Returns the times of the breaks to show, and whether there are more.
    fn breaks(tail: &Tail) -> (Vec<&str>, bool) {
        let times = tail.broken.iter().map(String::as_str);
        let shown = times.filter(|time| !time.is_empty()).take(BREAKS);
        (shown.collect(), tail.broken.len() > BREAKS)
    }
}
