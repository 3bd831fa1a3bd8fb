//! Expiry of certificates and client secrets in use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::ClientCredential;
use crate::expiry;
use crate::session::{ActiveService, Service};
use crate::tls::reload::ReloadableTls;

/// Interval between log warnings about expiring credentials. At start and reload the
/// configuration's own warnings report them.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A certificate or secret that expires.
pub(super) struct Ending {
    /// Name of the registration, or `listener NAME`.
    pub(super) subject: String,
    pub(super) what: String,
    /// End of validity, in seconds since 1970.
    pub(super) end: i64,
    pub(super) remedy: String,
}

/// Lists the certificates and secrets in use that expire.
pub(super) fn endings(service: &Service, identities: &[Arc<ReloadableTls>]) -> Vec<Ending> {
    let registrations: BTreeMap<_, _> = service
        .accounts
        .iter()
        .map(|account| (&account.registration.name, &account.registration))
        .collect();
    let credentials = registrations.into_values().filter_map(|registration| {
        let what = match registration.grant.credential() {
            Some(ClientCredential::Certificate(_)) => "certificate",
            _ => "client secret",
        };
        Some(Ending {
            subject: registration.name.clone(),
            what: format!("the {what} of the registration {}", registration.name),
            end: registration.credential_expires?,
            remedy: format!("make a new {what}, put it into the file and reload"),
        })
    });
    let certificates = identities.iter().filter_map(|tls| {
        let path = tls.certificate().display();
        Some(Ending {
            subject: format!("listener {}", tls.name()),
            what: format!("the certificate of the listener {} ({path})", tls.name()),
            end: tls.end()?,
            remedy: format!("put a new one there: {path} is looked at every 10 s"),
        })
    });
    credentials.chain(certificates).collect()
}

impl Ending {
    /// `… ends in 3 days` or `… has ended`; `None` if the end is not near.
    pub(super) fn near(&self) -> Option<String> {
        let when = expiry::ends_soon(self.end)?;
        Some(format!("{} {when}", self.what))
    }
}

/// Function that returns the certificates in use.
pub(super) type Certificates = Arc<dyn Fn() -> Vec<Arc<ReloadableTls>> + Send + Sync>;

/// Logs a warning each day about credentials near their end.
pub(super) fn warn_daily(
    current: Arc<ActiveService>,
    certificates: Certificates,
) -> impl Future<Output = ()> + Send {
    let mut next = Instant::now() + DAY;
    async move {
        loop {
            tokio::time::sleep_until(next).await;
            next = Instant::now() + DAY;
            for ending in endings(&current.active(), &certificates()) {
                if let Some(detail) = ending.near() {
                    let (subject, remedy) = (ending.subject, ending.remedy);
                    tracing::warn!(subject, detail, remedy, "a credential ends soon");
                }
            }
        }
    }
}
