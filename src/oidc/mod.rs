//! Sign-in of administrators by OpenID Connect (Core 1.0, Discovery 1.0).
//!
//! ```text
//! Provider::begin ──▶ SignIn (state, nonce, PKCE) ──▶ browser ──▶ identity provider
//! Identity ◀── ID token, verified ◀── Provider::redeem ◀── code ◀── browser
//! ```
//!
//! The claims of an [`Identity`] are verified: issuer, audience, nonce, expiry, and a signature by
//! one of the provider's published keys. `admin::people` decides who may do what. This module knows
//! no cookies, pages or roles.

mod http;
mod identity;
mod metadata;
mod provider;
mod sign_in;

pub use identity::Identity;
pub use provider::Provider;
pub use sign_in::{LIFETIME, Seal, SignIn};
