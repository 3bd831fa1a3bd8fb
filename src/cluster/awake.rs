//! Timeouts that do not count the time while this process does not run.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

/// Parts of a timeout: a pause of the process uses up one of them.
const PARTS: u32 = 10;

/// Awaits a future, for at most `limit` of the time while this process runs; `None` if that is over.
///
/// If the machine is suspended or the process waits for a processor, the reply may arrive meanwhile:
/// it is read before the timeout ends.
pub async fn awake_timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..PARTS {
        if let Ok(output) = timeout(limit / PARTS, &mut future).await {
            return Some(output);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_uses_up_one_part_of_the_timeout() {
        let limit = Duration::from_secs(20);
        let began = tokio::time::Instant::now();
        let never = std::future::pending::<()>();
        assert_eq!(awake_timeout(limit, never).await, None);
        assert_eq!(began.elapsed(), limit);
        let (sender, reply) = tokio::sync::oneshot::channel();
        let waiting = tokio::spawn(awake_timeout(limit, reply));
        tokio::task::yield_now().await;
        // The machine is suspended for an hour; then the reply is read.
        tokio::time::advance(Duration::from_secs(3_600)).await;
        tokio::task::yield_now().await;
        sender.send(7).unwrap();
        assert_eq!(waiting.await.unwrap(), Some(Ok(7)));
    }
}
