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

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn only_a_shorter_time_is_a_further_request() {
        const LONG: Duration = Duration::from_secs(30);
        const SHORT: Duration = Duration::from_secs(1);
        let drain = Drain::default();
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = pin!(drain.requested());
        assert!(first.as_mut().poll(&mut cx).is_pending());
        drain.request(LONG);
        assert_eq!(first.as_mut().poll(&mut cx), Poll::Ready(LONG));
        let mut sooner = pin!(drain.requested_before(Some(LONG)));
        assert!(sooner.as_mut().poll(&mut cx).is_pending());
        drain.request(Duration::from_secs(60));
        assert!(sooner.as_mut().poll(&mut cx).is_pending());
        drain.request(SHORT);
        assert_eq!(sooner.as_mut().poll(&mut cx), Poll::Ready(SHORT));
        // Whoever asks later hears the shortest.
        drain.request(LONG);
        let mut late = pin!(drain.requested());
        assert_eq!(late.as_mut().poll(&mut cx), Poll::Ready(SHORT));
    }
}
