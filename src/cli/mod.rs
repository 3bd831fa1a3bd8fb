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
mod hash_password;
mod health;
mod import;
mod init;
mod reload;
mod run;
mod running;
mod sandbox;
mod service;
mod setup;

pub use command::main;
