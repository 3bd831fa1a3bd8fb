//! Outbound connections: to mail services, token endpoints, hooks, syslog servers, and through
//! egress proxies.

pub mod connect;
pub mod dial;
mod egress;
pub mod http;
mod names;
mod options;
pub mod tls_fault;

pub use options::keepalive;
