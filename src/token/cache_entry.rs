//! One entry of the cache: a token, and the request in progress that later callers join.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::issued::Token;
use super::life::CachedToken;
use super::store::RecordVersion;
use crate::fault::Fault;

/// Observer of requests: registration, `ok`, `throttled`, `unavailable` or `refused`, and the
/// duration.
pub(super) type Observer = dyn Fn(&str, &'static str, Duration) + Send + Sync;

/// A cached token, and the logins that wait for it.
pub(super) struct CacheEntry {
    pub(super) life: Mutex<CachedToken>,
    /// Request in progress, if any; its value is the result.
    pub(super) flight: Mutex<Option<watch::Receiver<Option<FlightResult>>>>,
    /// Version of the stored record from which the entry was created.
    pub(super) version: Mutex<Option<RecordVersion>>,
}

/// Result of a request.
pub(super) type FlightResult = Result<Token, Fault>;
