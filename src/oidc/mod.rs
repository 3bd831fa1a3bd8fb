//! Sign-in of people by OpenID Connect (Core 1.0, Discovery 1.0), for the administrators' listener.
//!
//! ```text
//!     Provider::begin ─▶ the browser goes to the identity provider, with state, nonce and PKCE (SignIn)
//!     Provider::redeem ◀─ it comes back with a code ─▶ ID token, verified ─▶ Identity
//! ```
//!
//! What an identity says is verified: issuer, audience, nonce, expiry, and a signature by one of the
//! provider's published keys. Who may do what is decided elsewhere (`admin::people`). Never here:
//! a cookie, a page, a role.

mod http;
mod identity;
mod metadata;
mod provider;
mod sign_in;

pub use identity::Identity;
pub use provider::Provider;
pub use sign_in::{LIFETIME, Seal, SignIn};
