//! One place of the cache: a token, and the request for it that later callers join.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::life::CachedToken;
use super::store::RecordVersion;
use crate::fault::Fault;
use crate::secret::Secret;

/// Called for each request: its registration, `ok`, `throttled`, `unavailable` or `refused`, and
/// how long it took.
pub(super) type Observer = dyn Fn(&str, &'static str, Duration) + Send + Sync;

/// A token and those who wait for it.
pub(super) struct CacheEntry {
    pub(super) life: Mutex<CachedToken>,
    /// The request in progress, if there is one. Its value is the result.
    pub(super) flight: Mutex<Option<watch::Receiver<Option<Arrival>>>>,
    /// The stored record that the entry was made from.
    pub(super) version: Mutex<Option<RecordVersion>>,
}

/// A request's result: the token, its generation, and whether it was issued just now.
pub(super) type Arrival = Result<(Secret, u64, bool), Fault>;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
