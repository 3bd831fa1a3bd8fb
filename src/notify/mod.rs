//! Alerts: a condition that needs attention is reported once when it begins and once when it ends,
//! to the programs and URLs in `notify`.
//!
//! [`Notifier::begin`] and [`Notifier::end`] never wait: an alert that does not fit into a hook's
//! queue is counted and logged. Each hook has its own task, so a slow hook delays no other.

mod deliver;
mod notifier;

pub use notifier::Notifier;
