//! The administrators' listener: health, the OAuth callback, the API.
//!
//! It trusts whoever presents a token or has signed in, and no one else: see `access`. What it shows never holds a
//! token or a password, not even one that was just obtained.

mod access;
mod api;
mod auth;
mod callback;
mod http;
mod listener;
mod page;
mod people;
mod records;
mod sign_in;
mod state;

pub use listener::{Admin, one_callback, proof, token};

pub use people::{People, SignInService};
pub use state::{Readiness, Reload, ReloadReport, Reloading};
