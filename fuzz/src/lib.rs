//! What is fuzzed, as ordinary functions: each takes an input, does with it what a hostile peer
//! could have done, and panics where a promise is broken.
//!
//! `fuzz_targets/` hands them to libFuzzer; `tests/fuzz_replay.rs` includes this very module and
//! runs them on stable Rust. Every input is taken whole, byte by byte and, if it is short, cut at
//! every place: the outcome must be the same.

pub mod back;
pub mod config;
pub mod front;
pub mod front_back;
pub mod import;
pub mod literals;
mod pieces;
pub mod proxy_header;
pub mod relay;
pub mod smtp_session;
pub mod stream;
pub mod wire;

/// A target: what it is called and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them. The name is that of the file in `fuzz_targets/` and of the folder in `corpus/`.
pub const TARGETS: &[Target] = &[
    ("imap_commands", wire::imap_commands),
    ("imap_responses", wire::imap_responses),
    ("literals", literals::literals),
    ("pop3", wire::pop3),
    ("smtp_commands", wire::smtp_commands),
    ("smtp_replies", wire::smtp_replies),
    ("sasl", wire::sasl),
    ("front", front::front),
    ("back", back::back),
    ("front_back", front_back::front_back),
    ("relay", relay::relay),
    ("smtp_session", smtp_session::smtp_session),
    ("proxy_header", proxy_header::proxy_header),
    ("stream", stream::stream),
    ("config", config::config),
    ("import", import::import),
];
