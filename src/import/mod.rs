//! `import`: from the file of another proxy to a `proxy.yaml`: `emailproxy.config`
//! (email-oauth2-proxy's INI file), `davmail.properties`, `sasl-xoauth2.conf` with its token files.
//!
//! What has no counterpart is named, never dropped in silence: local passwords (that proxy keeps
//! none; its first client chooses) and stored tokens (sealed with that password) among them.

mod account;
mod convert;
mod davmail;
mod draft;
mod sasl_xoauth2;
mod server;
#[cfg(test)]
mod tests;
mod upstream;

pub use convert::import;

pub use draft::{Imported, MovedConsent, TokenFile};
