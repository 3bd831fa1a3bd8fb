//! Sockets that clients come to: accepting them, load balancers' headers, TLS on either side.

mod client_hello;
pub mod identity;
pub mod listen;
pub mod proxy_protocol;
pub mod tls;
