//! Access tokens: one request per token, however many sessions need it.
//!
//! A token is for a purpose: one app-only token serves all mailboxes of a registration, a person's
//! consent serves one login. The token source asks ahead of expiry, remembers failures so that a
//! polling client cannot hammer the endpoint, and replaces a token that an upstream refused within
//! bounds that keep one mailbox without permission from churning the token that all share. Its
//! times are of the monotonic clock: a clock that is set wrong changes nothing while it runs.

mod answer;
mod authorization;
pub mod authorizations;
mod awake;
mod cache_entry;
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
