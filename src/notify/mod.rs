//! Alerts: what needs a person is reported once when it begins and once when it is over, to
//! programs and URLs of the operator's choice (`notify`).
//!
//! [`Notifier::begin`] and [`Notifier::end`] never wait: what has no place in the queue is counted
//! and logged. One task decides what is new; each hook has a task of its own, so that a slow one
//! holds up no other.

mod alert;
mod deliver;
mod notifier;

pub use notifier::Notifier;
