//! From a listening socket to a client: accepting, session permits, PROXY headers, `allow`, and the
//! causes of failed TLS handshakes.

pub mod admission;
mod certificate_names;
mod client_address;
pub mod listen;
pub mod proxy_protocol;
mod served;
mod shortage;
mod tls_fault;

pub use certificate_names::certificate_names;
pub use client_address::identify_client;
pub use served::ServedListener;
pub use shortage::Shortage;
pub use tls_fault::{client_fault, unexpected_tls};
