//! Deadlines of requests whose answer must not be lost.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

/// Largest part of a deadline that a sleep of the machine can use up.
const PART: Duration = Duration::from_millis(500);

/// Awaits a future for `limit` at most, as time during which this process runs. While a machine
/// sleeps, or the process is stopped, an answer may arrive: it is read before the deadline counts.
///
/// `None` where the time is over.
pub(super) async fn awake_timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = limit;
    while !left.is_zero() {
        let part = left.min(PART);
        if let Ok(output) = timeout(part, &mut future).await {
            return Some(output);
        }
        left = left.saturating_sub(part);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_sleep_uses_up_one_part_of_the_deadline() {
        let limit = Duration::from_secs(20);
        let began = tokio::time::Instant::now();
        assert_eq!(
            awake_timeout(limit, std::future::pending::<()>()).await,
            None
        );
        assert_eq!(began.elapsed(), limit);
        let (sender, answer) = tokio::sync::oneshot::channel();
        let waiting = tokio::spawn(awake_timeout(limit, answer));
        tokio::task::yield_now().await;
        // The machine sleeps for an hour; then the answer is read.
        tokio::time::advance(Duration::from_secs(3_600)).await;
        tokio::task::yield_now().await;
        sender.send(7).unwrap();
        assert_eq!(waiting.await.unwrap(), Some(Ok(7)));
    }
}
