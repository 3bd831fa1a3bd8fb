//! Requests to end a session.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Request to end a session at its next reply boundary.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    token: CancellationToken,
    request: Arc<Request>,
}

#[derive(Debug, Default)]
struct Request {
    /// Shortest time requested so far.
    within: Mutex<Option<Duration>>,
    sooner: Notify,
}

impl Drain {
    /// Creates a request that is also made when `parent` is cancelled.
    pub fn within_parent(parent: &CancellationToken) -> Self {
        Self {
            token: parent.child_token(),
            request: Arc::default(),
        }
    }

    /// Requests that the session ends within this time. A later request can only shorten it.
    pub fn request(&self, within: Duration) {
        let mut known = self.request.within.lock();
        *known = Some(known.map_or(within, |before| before.min(within)));
        drop(known);
        self.token.cancel();
        self.request.sooner.notify_waiters();
    }

    /// Waits for a request and returns its time. A request by the parent sets none: the session
    /// then ends with the stop that follows.
    pub async fn requested(&self) -> Duration {
        self.requested_before(None).await
    }

    /// Waits for a request with a shorter time than `known`.
    pub(super) async fn requested_before(&self, known: Option<Duration>) -> Duration {
        const BY_STOP: Duration = Duration::from_secs(24 * 3600);
        self.token.cancelled().await;
        loop {
            let sooner = self.request.sooner.notified();
            let within = self.request.within.lock().unwrap_or(BY_STOP);
            if known.is_none_or(|known| within < known) {
                return within;
            }
            sooner.await;
        }
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
        // A later caller gets the shortest time.
        drain.request(LONG);
        let mut late = pin!(drain.requested());
        assert_eq!(late.as_mut().poll(&mut cx), Poll::Ready(SHORT));
    }
}
