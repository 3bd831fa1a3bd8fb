//! Connections to a provider's endpoints, direct or through its egress proxy.

use tokio::net::TcpStream;

use super::{connect, egress};
use crate::config::{Endpoint, Provider};
use crate::fault::Fault;

/// Connects to the endpoint through the provider's egress proxy, or directly if there is none. The
/// caller sets the deadline.
///
/// # Errors
///
/// Always [`Kind::Unreachable`](crate::fault::Kind::Unreachable).
pub async fn dial(provider: &Provider, endpoint: &Endpoint) -> Result<TcpStream, Fault> {
    match &provider.egress {
        Some(egress) => egress::connect_via(egress, endpoint).await,
        None => connect::direct(endpoint, provider.ip).await,
    }
}
