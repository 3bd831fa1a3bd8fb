//! How tokens are asked for: one function a grant.
//!
//! [`consent`] is where a person agrees; what that leaves (a refresh token) is used by
//! [`refresh`]. All others ask again each time.

mod assertion;
pub(super) mod consent;
pub(super) mod device;
mod form;
mod local;
mod refresh;
mod request;
mod send;

pub(super) use request::Request;
