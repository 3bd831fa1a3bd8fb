//! Outbound connections: to mail services, token endpoints, hooks, syslog servers, and through
//! egress proxies.

pub mod connect;
mod egress;
pub mod http;
mod names;
pub mod tls_fault;

pub use connect::keepalive;
pub use egress::dial;
