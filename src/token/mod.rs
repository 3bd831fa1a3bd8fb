//! Access tokens: one request per token, however many sessions need it.
//!
//! An app-only token serves all mailboxes of a registration; a user's consent serves one login. The
//! token source requests tokens ahead of their expiry. It remembers failures, so that a polling
//! client cannot overload the endpoint. A token that an upstream refused is replaced, but only
//! within limits, so that one mailbox without permission does not keep replacing a token that all
//! share. Times are of the monotonic clock, so that setting the clock has no effect.

mod answer;
pub mod authorizations;
mod cache_key;
mod consents;
mod endpoint;
mod failure;
mod flight;
mod grant;
mod issued;
mod life;
mod refusal;
mod sharing;
mod source;
pub mod store;

pub use grant::consent::{AuthorizationRequest, Consent, claims, person};
pub use grant::device::DeviceAuthorization;
pub(crate) use issued::now;
pub use issued::{Token, TokenState};
pub use source::{TokenSource, TokenSourceConfig};
