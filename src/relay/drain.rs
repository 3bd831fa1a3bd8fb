//! The request to end a session.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A request to end a session at its next reply boundary.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    token: CancellationToken,
    request: Arc<Request>,
}

#[derive(Debug, Default)]
struct Request {
    /// The shortest time that was asked for.
    within: Mutex<Option<Duration>>,
    sooner: Notify,
}

impl Drain {
    /// Requested also when `parent` is.
    pub fn within_parent(parent: &CancellationToken) -> Self {
        Self {
            token: parent.child_token(),
            request: Arc::default(),
        }
    }

    /// Requests the end, within this time at the latest; again, where that is sooner.
    pub fn request(&self, within: Duration) {
        let mut known = self.within();
        *known = Some(known.map_or(within, |before| before.min(within)));
        drop(known);
        self.token.cancel();
        self.request.sooner.notify_waiters();
    }

    /// Waits for the request. Without a time of its own the session ends by the stop that follows.
    pub async fn requested(&self) -> Duration {
        self.requested_before(None).await
    }

    /// Waits for a request with a shorter time than the one that is `known`.
    pub(super) async fn requested_before(&self, known: Option<Duration>) -> Duration {
        const BY_STOP: Duration = Duration::from_secs(24 * 3600);
        self.token.cancelled().await;
        loop {
            let sooner = self.request.sooner.notified();
            let within = self.within().unwrap_or(BY_STOP);
            if known.is_none_or(|known| within < known) {
                return within;
            }
            sooner.await;
        }
    }

    fn within(&self) -> MutexGuard<'_, Option<Duration>> {
        let within = self.request.within.lock();
        within.unwrap_or_else(PoisonError::into_inner)
    }
}
