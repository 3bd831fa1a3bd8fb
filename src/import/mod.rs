//! Converts the configuration of another proxy to a `proxy.yaml`.
//!
//! Sources: `emailproxy.config` (email-oauth2-proxy's INI file), `davmail.properties`, and
//! `sasl-xoauth2.conf` with its token files.
//!
//! Everything without a counterpart is reported, including local passwords (email-oauth2-proxy
//! stores none; its first client chooses one) and stored tokens (encrypted with that password).

mod account;
mod convert;
mod davmail;
mod draft;
mod json;
mod own_provider;
mod properties;
mod sasl_xoauth2;
mod section;
mod server;
#[cfg(test)]
mod tests;
mod upstream;

pub use convert::import;
pub use davmail::decode;

pub use draft::{Imported, MovedConsent, TokenFile};
