//! The administrators' listener: health, the OAuth callback, the API.
//!
//! Requests need a token or a person who has signed in: see `access`. No response contains a token
//! or a password, not even one that was just obtained.

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

pub use callback::one_callback;
pub use listener::{Admin, proof, token};
pub use people::{People, SignInService};
pub use state::{Readiness, Reload, ReloadReport, Reloading};
