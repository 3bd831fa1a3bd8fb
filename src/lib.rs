//! authrelay lets applications that only know user name and password use mailboxes that require
//! OAuth 2.0.
//!
//! A client speaks IMAP, POP3 or SMTP to a listener. authrelay checks its local password, gets an
//! access token for the mailbox, logs in to the mail service with XOAUTH2 over TLS, and then relays
//! octets in both directions, unchanged.
//!
//! # The life of a connection
//!
//! 1. [`server`] binds the listeners. [`accept`] accepts a client, reads its PROXY header, and
//!    takes a session permit.
//! 2. [`session`] drives all that follows. One deadline covers everything up to the end of the
//!    login.
//! 3. [`login::front`] holds the dialogue with the client until it presents credentials. [`stream`]
//!    carries its octets, in clear or over [`tls`]; [`wire`] has the framing and the grammars.
//! 4. [`auth`] checks the password. Its result, a [`VerifiedLogin`](auth::password::VerifiedLogin),
//!    is required for the next step.
//! 5. [`token`] returns an access token: a cached one, or by one request that all waiting logins
//!    share.
//! 6. [`upstream`] connects to the mail service through [`outbound`] and starts TLS.
//!    [`login::back`] presents the token.
//! 7. [`relay`] relays until the session ends. Over SMTP it applies the account's policy, and the
//!    limits that [`throttle`] keeps for each mailbox.
//! 8. [`session`] writes the session's record: one line in the log ([`logging`]), the [`metrics`],
//!    the login [`history`], and [`audit`] records.
//!
//! A failure at any step is a [`Fault`](fault::Fault): it names the side to blame and the remedy,
//! and has one reply for each protocol.
//!
//! # Around the connection
//!
//! | Topic | Modules |
//! | --- | --- |
//! | Configuration and secrets | [`config`], [`secret`], [`text`] |
//! | Commands | [`cli`], [`import`], [`certs`], [`doctor`] (connection test) |
//! | Administrators | [`admin`] (status page, API), [`oidc`] (sign-in), [`status`] |
//! | Alerts | [`notify`], [`expiry`] |
//! | The log | [`logging`], [`fault_log`] (repeated faults), [`environment`] (hints) |
//! | Several relays that share state | [`cluster`] |
//! | Operating systems, other programs | [`platform`], [`program`] |
//! | Tests and demonstrations | [`sandbox`] (an emulated Microsoft 365) |
//!
//! # Where to start
//!
//! - [`session`] shows how the parts work together.
//! - [`login`], [`relay::Machine`] and the cached token of [`token`] decide without IO, with the
//!   time as a parameter. The page of [`relay`] contains a complete driver in a few lines.
//! - [`Config`](config::Config) contains every setting, [`Kind`](fault::Kind) every kind of failure.
//! - `ARCHITECTURE.md` in the repository has the glossary, the rules for imports, the tasks of the
//!   process, and a table of where to begin a change.

// No input of a peer may end the process.
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
#[cfg(feature = "sandbox")]
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
