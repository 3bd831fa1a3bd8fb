//! The way out: every connection that authrelay makes, to mail services, token endpoints, hooks,
//! syslog servers, and proxies that lead there.

pub mod connect;
pub mod dial;
mod egress;
pub mod http;
mod names;
mod options;
pub mod tls_fault;

pub use options::keepalive;
