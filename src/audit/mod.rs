//! Audit records: one JSON object per line, each bound to the previous one by its hash.
//!
//! ```text
//! sessions ──▶ queue ──▶ writer: seals, writes, syncs ──▶ file or stdout
//!                          ├──▶ queue ──▶ sender ──▶ syslog
//!                          └──▶ queue ──▶ sender ──▶ HTTPS
//! ```
//!
//! All queues are bounded. Writer and senders are threads.
//!
//! A session only puts a record into the queue, which never waits. The writer hashes and writes
//! what it finds there as one piece, and syncs to disk at most once a second. Records that cannot
//! be written stay in the queue. When it is full, `audit.on_full` decides whether logins are
//! refused or records dropped; a drop is recorded in the chain.
//!
//! Records never contain passwords, tokens or message content. serde_json escapes all texts, so no
//! byte of a peer begins a line.

mod chain;
mod envelopes;
mod error;
pub mod export;
mod file;
mod handle;
mod http;
mod lines;
mod outlet;
mod queue;
mod record;
mod remote;
mod sign;
mod syslog;
mod tail;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

pub use chain::{START, is_hash};
pub use envelopes::Envelopes;
pub use error::AuditError;
pub use handle::Audit;
pub use lines::{Line, read_line};
pub use record::{AuditMessage, AuditRecord, Event};
pub use sign::PublicKey;
pub use tail::{Filter, Row, Tail, tail};
pub use verify::{ChainBreak, ChainReport, verify};
