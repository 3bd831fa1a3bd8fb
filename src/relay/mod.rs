//! After the login: octets both ways, unchanged but for what a rule asks for.
//!
//! A [`Machine`] decides everything without IO; a [`Driver`] does what it says, over two
//! connections that hold no buffer of their own:
//!
//! ```text
//!     client ──▶ Connection ──▶ Input::Client ─────▶ ┌─────────┐ ──▶ Action::ToUpstream ──▶ upstream
//!     client ◀── Connection ◀── Action::ToClient ◀── │ Machine │ ◀── Input::Upstream ◀───── upstream
//!     clock, drain, stop, permits ────── Input ────▶ └─────────┘ ──▶ Next::Wait, Next::End
//! ```
//!
//! The only thing authrelay ever adds is a final reply (`* BYE`, `421`) between two replies. Over
//! SMTP [`SmtpRules`] may apply: then commands wait for their permit, or are refused.

mod driver;
mod envelope;
mod framing;
mod imap;
mod interface;
mod machine;
mod pop3;
mod smtp;
mod tracker;

use std::sync::atomic::{AtomicU64, Ordering};

pub use driver::{Backend, Connection, Drain, Driver, run};
pub use envelope::{MessageOutcome, MessageReport};
pub use interface::{Action, ClosedBy, End, Event, Input, Interest, Next, Permit};
pub use machine::Machine;
pub use smtp::{Policy, SmtpRules};
pub use tracker::Tracker;

/// Octets relayed so far; kept outside of the session, so that one that is cancelled has them too,
/// and that others may look.
#[derive(Debug, Default)]
pub struct ByteCounters {
    up: AtomicU64,
    down: AtomicU64,
}

impl ByteCounters {
    /// From client to upstream.
    pub fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    /// From upstream to client.
    pub fn down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }

    /// Counts octets that went up and down.
    pub fn add(&self, up: usize, down: usize) {
        self.up.fetch_add(up as u64, Ordering::Relaxed);
        self.down.fetch_add(down as u64, Ordering::Relaxed);
    }
}
