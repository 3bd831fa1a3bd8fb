//! Metadata and keys of the identity provider: fetched at a sign-in, cached for a day, and fetched
//! again at most once a minute if a signature's key is unknown.

use std::sync::Arc;
use std::time::Duration;

use openidconnect::core::CoreProviderMetadata;
use openidconnect::{DiscoveryError, IssuerUrl};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::http::{self, Unanswered};
use crate::fault::{Fault, Kind};
use crate::outbound::http::Client;

/// Age from which cached metadata is fetched again, so that withdrawn keys are dropped.
const FRESH: Duration = Duration::from_secs(24 * 3600);

/// Shortest time between two requests for keys.
const AGAIN: Duration = Duration::from_secs(60);

/// Period for which a failure is remembered, so that waiting sign-ins do not repeat the request one
/// after the other.
const FAILED: Duration = Duration::from_secs(5);

/// Cached metadata of the identity provider.
#[derive(Default)]
pub(super) struct Metadata(Mutex<Known>);

#[derive(Default)]
struct Known {
    metadata: Option<(Instant, Arc<CoreProviderMetadata>)>,
    failure: Option<(Instant, Fault)>,
}

impl Metadata {
    /// Returns the metadata with its keys. All waiting sign-ins share one request.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`]: the identity provider does not respond, or its response is invalid.
    pub(super) async fn current(
        &self,
        client: &Client,
        issuer: &str,
    ) -> Result<Arc<CoreProviderMetadata>, Fault> {
        let mut known = self.0.lock().await;
        let kept = known.metadata.clone();
        if let Some((fetched, metadata)) = &kept
            && fetched.elapsed() < FRESH
        {
            return Ok(metadata.clone());
        }
        match known.fetch(client, issuer).await {
            Ok(metadata) => Ok(metadata),
            // Old keys still help: the ID token comes over TLS from the same host.
            Err(fault) => kept.map(|(_, metadata)| metadata).ok_or(fault),
        }
    }

    /// Returns metadata newer than `than`, if it exists or may be requested now.
    pub(super) async fn newer(
        &self,
        client: &Client,
        issuer: &str,
        than: &Arc<CoreProviderMetadata>,
    ) -> Option<Arc<CoreProviderMetadata>> {
        let mut known = self.0.lock().await;
        let kept = known.metadata.clone();
        match kept {
            Some((_, metadata)) if !Arc::ptr_eq(&metadata, than) => Some(metadata),
            Some((fetched, _)) if fetched.elapsed() < AGAIN => None,
            _ => known.fetch(client, issuer).await.ok(),
        }
    }
}

impl Known {
    async fn fetch(
        &mut self,
        client: &Client,
        issuer: &str,
    ) -> Result<Arc<CoreProviderMetadata>, Fault> {
        if let Some((failed, fault)) = &self.failure
            && failed.elapsed() < FAILED
        {
            return Err(fault.clone());
        }
        let discovered = discover(client, issuer).await.map(Arc::new);
        let now = Instant::now();
        if let Ok(metadata) = &discovered {
            self.metadata = Some((now, metadata.clone()));
        }
        self.failure = discovered.as_ref().err().map(|fault| (now, fault.clone()));
        discovered
    }
}

async fn discover(client: &Client, issuer: &str) -> Result<CoreProviderMetadata, Fault> {
    let clear = issuer.starts_with("http://");
    let url = IssuerUrl::new(issuer.to_owned())
        .map_err(|_| Fault::new(Kind::Unavailable, "admin.users.issuer is not a URL"))?;
    let send = |request| http::send(client.clone(), clear, request);
    let metadata = CoreProviderMetadata::discover_async(url, &send).await;
    let metadata = metadata.map_err(|error| unusable(&error))?;
    let authorize = metadata.authorization_endpoint().url();
    if !http::is_safe(authorize, clear) {
        return Err(Fault::new(
            Kind::Unavailable,
            "the identity provider names an authorization endpoint without https",
        ));
    }
    Ok(metadata)
}

fn unusable(error: &DiscoveryError<Unanswered>) -> Fault {
    let (detail, remedy) = match error {
        DiscoveryError::Request(why) => (
            format!("the identity provider cannot be used: {why}"),
            "check that this host reaches the issuer (DNS, firewall, TLS, admin.users.egress, admin.users.ca)",
        ),
        DiscoveryError::Response(_, _, why) => (
            format!("the identity provider's metadata cannot be fetched: {why}"),
            "check admin.users.issuer: the document is at ISSUER/.well-known/openid-configuration",
        ),
        DiscoveryError::Validation(why) => (
            format!("the identity provider names another issuer: {why}"),
            "write admin.users.issuer exactly as the identity provider does",
        ),
        DiscoveryError::Parse(why) => (
            format!("the identity provider's metadata cannot be read: {why}"),
            "check admin.users.issuer",
        ),
        other => (
            format!("the identity provider cannot be used: {other}"),
            "check admin.users.issuer",
        ),
    };
    Fault::new(Kind::Unavailable, detail).with_remedy(remedy)
}
