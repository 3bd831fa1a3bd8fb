//! TLS configurations, and certificate files that are replaced while in use.
//!
//! Towards upstreams: TLS 1.2 or later, public roots plus the provider's own, verified host name.
//! No setting turns any of this off.

mod certificate;
mod client_hello;
mod config;
mod pinned;
pub mod reload;
pub mod server_name;
mod transcript;

pub use certificate::{
    CertificateFiles, FileProblem, FileStamps, ServerCertificate, certificates, contents,
};
pub use client_hello::ClientHello;
pub use config::{belong_together, client};
pub use pinned::pinned;
