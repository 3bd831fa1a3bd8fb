//! Connecting to a provider's endpoint: directly, or by its egress proxy.

use tokio::net::TcpStream;

use super::{connect, egress};
use crate::config::{Endpoint, Provider};
use crate::fault::Fault;

/// Connects to the endpoint: by the provider's egress proxy if it has one, else by whichever of
/// the endpoint's addresses answers first. The caller sets the deadline.
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
