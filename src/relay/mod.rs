//! Relays octets in both directions after the login, unchanged except where a rule applies.
//!
//! A [`Machine`] decides everything without IO. A [`Driver`] carries out its actions over two
//! connections that keep no buffers while idle:
//!
//! ```text
//! client ───── Input::Client ────▶ ┌─────────┐ ── Action::ToUpstream ──▶ upstream
//! client ◀──── Action::ToClient ── │ Machine │ ◀──── Input::Upstream ─── upstream
//! clock, drain, permits ── Input ▶ └─────────┘ ──▶ Next::Wait, Next::End
//! ```
//!
//! The loop, with peers that accept everything at once (the product uses [`Driver::poll`]):
//!
//! ```
//! use std::time::Duration;
//!
//! use authrelay::relay::{Action, Input, Machine, Next, Tracker};
//! use authrelay::wire::Protocol;
//! use tokio::time::Instant;
//!
//! let mut now = Instant::now();
//! let idle_timeout = Duration::from_secs(1800);
//! let mut machine = Machine::new(Tracker::new(Protocol::Smtp), idle_timeout, now);
//! let (mut to_upstream, mut to_client) = (Vec::new(), Vec::new());
//! let mut inputs = vec![
//!     Input::Client(b"NOOP\n"),
//!     Input::Upstream(b"250 2.0.0 OK\r\n"),
//!     Input::Drain(Duration::from_secs(30)),
//! ]
//! .into_iter();
//! let end = loop {
//!     match machine.next() {
//!         Next::End(end) => break end,
//!         Next::Wait(interest) => {
//!             let input = inputs.next().unwrap_or_else(|| {
//!                 now = interest.until;
//!                 Input::Timeout
//!             });
//!             for input in [input, Input::Flushed { client: true, upstream: true }] {
//!                 machine.handle(input, now, &mut |action| match action {
//!                     Action::ToUpstream(octets) => to_upstream.extend_from_slice(octets),
//!                     Action::ToClient(octets) => to_client.extend_from_slice(octets),
//!                     _ => {}
//!                 });
//!             }
//!         }
//!     }
//! };
//! assert_eq!(to_upstream, b"NOOP\r\n");
//! assert_eq!(to_client, b"250 2.0.0 OK\r\n");
//! assert!(end.reply.starts_with(b"421 4.3.2 "));
//! ```
//!
//! authrelay adds only a final reply (`* BYE`, `421`), between two replies. Over SMTP [`SmtpRules`]
//! may apply; then commands may wait for a permit or be refused.

mod byte_counters;
mod drain;
mod driver;
mod framing;
mod imap;
mod interface;
mod machine;
mod pop3;
mod smtp;
mod tracker;

pub use byte_counters::ByteCounters;
pub use drain::Drain;
pub use driver::{Backend, Connection, Driver, run};
pub use interface::{
    Action, ClosedBy, End, Event, Input, Interest, MessageOutcome, MessageReport, Next, Permit,
    TrackedProtocol,
};
pub use machine::{Machine, STOP_TIMEOUT, draining};
pub use smtp::{Policy, SmtpRules};
pub use tracker::Tracker;
