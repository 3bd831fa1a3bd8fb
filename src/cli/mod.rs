//! Commands, one file each.
//!
//! Results go to stdout, errors to stderr, one line each. Exit codes follow sysexits.h.

mod accounts;
mod audit;
mod authorize;
mod certs;
mod check;
mod command;
mod doctor;
mod entra;
mod entra_script;
mod files;
mod hash_password;
mod health;
mod import;
mod init;
#[cfg(not(feature = "sandbox"))]
mod no_sandbox;
mod reload;
mod run;
mod running;
#[cfg(feature = "sandbox")]
mod sandbox;
mod service;
mod setup;

pub use command::main;
