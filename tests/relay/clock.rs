//! Time that passes when a test says so, and patience that is counted in real seconds.

use std::future::Future;
use std::sync::mpsc;
use std::time::Duration;

/// How long anything may really take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A scene on a runtime of its own: one thread, and a clock that stands still. Whatever it leaves
/// behind ends with it.
pub fn still<F: Future>(scene: impl FnOnce(Clock) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async { scene(Clock::hold()).await })
}

/// tokio's clock of a scene. A clock that is merely paused jumps ahead whenever all tasks wait,
/// which includes waiting for bytes that the kernel has not delivered; this one is held.
pub struct Clock {
    /// Dropped, it lets go of the clock.
    _hold: mpsc::Sender<()>,
    began: tokio::time::Instant,
}

impl Clock {
    fn hold() -> Self {
        let (hold, until) = mpsc::channel::<()>();
        // A blocking task under way keeps tokio from moving the clock by itself.
        tokio::task::spawn_blocking(move || until.recv());
        Self {
            _hold: hold,
            began: tokio::time::Instant::now(),
        }
    }

    pub async fn advance(&self, by: Duration) {
        tokio::time::advance(by).await;
    }

    /// Since the clock was stopped.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Moves time, a second at each step, until `future` is ready; panics where it is not after
    /// `most`. Between steps every task and the kernel get their turn.
    pub async fn until_ready<T>(&self, most: Duration, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        let end = self.elapsed() + most;
        loop {
            tokio::select! {
                biased;
                value = &mut future => return value,
                () = breath() => {}
            }
            assert!(self.elapsed() < end, "not ready after {most:?}");
            self.advance(Duration::from_secs(1)).await;
        }
    }
}

/// A moment in which the kernel delivers and every task runs.
async fn breath() {
    for _ in 0..3 {
        let pause = || std::thread::sleep(Duration::from_millis(1));
        let _ = tokio::task::spawn_blocking(pause).await;
    }
}

/// Awaits in real time, whatever the clock does.
pub async fn patient<T>(what: &str, future: impl Future<Output = T>) -> T {
    let (done, until) = mpsc::channel::<()>();
    let end = tokio::task::spawn_blocking(move || until.recv_timeout(PATIENCE));
    let value = tokio::select! {
        biased;
        value = future => value,
        _ = end => panic!("{what}: still waiting after {PATIENCE:?}"),
    };
    drop(done);
    value
}
