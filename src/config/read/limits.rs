//! `limits`.

use std::time::Duration;

use super::super::field::Field;
use super::super::{Limits, Lockout};

/// RFC 9051 §5.4: an IMAP server waits at least 30 minutes before it logs out an idle client.
const IMAP_IDLE: Duration = Duration::from_secs(30 * 60);

/// Less, and no login could end before the margin that is kept for its own fault.
const LEAST_LOGIN: Duration = Duration::from_secs(3);

/// More sessions than a machine has ports for.
const MOST: usize = 1_000_000;

/// Limits, and where the idle timeout was set.
pub(super) struct Read<'t> {
    pub(super) limits: Limits,
    idle: Option<Field<'t>>,
}

pub(super) fn limits(field: Option<Field<'_>>) -> Read<'_> {
    let mut limits = Limits {
        sessions: 10_000,
        sessions_per_client: 1_000,
        login_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(35 * 60),
        upstream_timeout: Duration::from_secs(20),
        drain_timeout: Duration::from_secs(30),
        lockout: Lockout {
            failures: 10,
            window: Duration::from_secs(600),
            duration: Duration::from_secs(300),
        },
    };
    let Some(mut section) = field.and_then(|field| field.section()) else {
        return Read { limits, idle: None };
    };
    for (key, limit) in [
        ("sessions", &mut limits.sessions),
        ("sessions_per_client", &mut limits.sessions_per_client),
    ] {
        if let Some(number) = section.take(key).and_then(|field| field.number(1..=MOST)) {
            *limit = number;
        }
    }
    if let Some(field) = section.take("login_timeout")
        && let Some(timeout) = field.duration()
    {
        if timeout < LEAST_LOGIN {
            field.problem("must be at least 3s");
        }
        limits.login_timeout = timeout;
    }
    for (key, limit) in [
        ("upstream_timeout", &mut limits.upstream_timeout),
        ("drain_timeout", &mut limits.drain_timeout),
    ] {
        if let Some(duration) = section.take(key).and_then(|field| field.duration()) {
            *limit = duration;
        }
    }
    let idle = section.take("idle_timeout");
    if let Some(duration) = idle.as_ref().and_then(Field::duration) {
        limits.idle_timeout = duration;
    }
    if let Some(field) = section.take("lockout") {
        lockout(&field, &mut limits.lockout);
    }
    section.finish();
    Read { limits, idle }
}

fn lockout(field: &Field<'_>, lockout: &mut Lockout) {
    let Some(mut section) = field.section() else {
        return;
    };
    if let Some(failures) = section
        .take("failures")
        .and_then(|field| field.number(1..=MOST))
    {
        lockout.failures = u32::try_from(failures).unwrap_or(u32::MAX);
    }
    for (key, limit) in [
        ("window", &mut lockout.window),
        ("duration", &mut lockout.duration),
    ] {
        if let Some(duration) = section.take(key).and_then(|field| field.duration()) {
            *limit = duration;
        }
    }
    section.finish();
}

/// Beside an IMAP listener the idle timeout has a floor.
pub(super) fn check_idle(read: &Read<'_>, imap: bool) {
    if let Some(field) = &read.idle
        && imap
        && read.limits.idle_timeout < IMAP_IDLE
    {
        field.problem("must be at least 30m beside an IMAP listener (RFC 9051 §5.4)");
    }
}
