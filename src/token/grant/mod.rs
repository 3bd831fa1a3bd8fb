//! Token requests: one function per grant.
//!
//! [`consent`] handles a user's consent; [`refresh`] uses the refresh token that it leaves. All
//! other grants request a new token each time.

mod assertion;
pub(super) mod consent;
pub(super) mod device;
mod form;
mod local;
mod refresh;
mod request;
mod send;

pub(super) use refresh::Redeems;
pub(super) use request::Request;
