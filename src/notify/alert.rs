//! An alert as hooks receive it.

use serde::Serialize;

/// Alert that a hook receives.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Alert {
    /// Time of the alert: RFC 3339, UTC.
    pub(super) time: String,
    pub(super) event: &'static str,
    /// Whether the condition begins or ends: `begin` or `end`.
    pub(super) state: &'static str,
    pub(super) relay: String,
    pub(super) subject: String,
    pub(super) detail: String,
    /// Remedy, for people; empty where nothing needs to be done.
    pub(super) remedy: String,
}
