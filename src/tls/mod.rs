//! TLS configurations, certificate files, and their replacement while they are in use.
//!
//! Towards upstreams: TLS 1.2 or later, public roots and the provider's own, the host's name
//! verified; there is no switch that turns any of it off.

mod certificate;
mod config;
mod pinned;
pub mod reload;

pub use certificate::{
    CertificateFiles, FileProblem, FileStamp, ServerCertificate, certificates, contents,
};
pub use config::{belong_together, client, client_verifier, server};
pub use pinned::pinned;
