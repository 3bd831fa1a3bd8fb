//! authrelay lets applications that only know user name and password use mailboxes that require
//! OAuth 2.0.
//!
//! A client speaks IMAP, POP3 or SMTP to a listener; its local password is checked; an access
//! token for the mailbox is obtained; the upstream is logged in to with XOAUTH2 over TLS; then
//! bytes flow unchanged.

// No bytes of a peer may end the process.
#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

pub mod accept;
pub mod admin;
pub mod audit;
pub mod auth;
pub mod certs;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod doctor;
pub mod environment;
pub mod expiry;
pub mod fault;
pub mod fault_log;
pub mod history;
pub mod import;
pub mod logging;
pub mod login;
pub mod metrics;
pub mod notify;
pub mod oidc;
pub mod outbound;
pub mod platform;
pub mod program;
pub mod relay;
pub mod sandbox;
pub mod secret;
pub mod server;
pub mod session;
pub mod status;
pub mod stream;
pub mod text;
pub mod throttle;
pub mod tls;
pub mod token;
pub mod upstream;
pub mod wire;
