//! What counts, what locks, and for how long.

use super::*;

fn lockouts(failures: u32) -> Arc<Lockouts> {
    Arc::new(Lockouts::new(Lockout {
        failures,
        window: Duration::from_secs(600),
        duration: Duration::from_secs(300),
    }))
}

/// One of several wrong passwords.
fn fingerprint(number: u8) -> Fingerprint {
    [number; 32]
}

/// An application that tries the same wrong password with every mechanism fails once a minute.
/// An attempt during a lock does not prolong it.
#[tokio::test(start_paused = true)]
async fn the_same_password_within_a_minute_counts_once() {
    let lockouts = lockouts(3);
    for minute in 0..3 {
        assert!(!lockouts.is_locked(CLIENT, "login", true), "{minute}");
        for _ in 0..5 {
            lockouts.failed(CLIENT, "login", true, fingerprint(7));
        }
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    assert!(lockouts.is_locked(CLIENT, "login", true));
    for _ in 0..4 {
        tokio::time::advance(Duration::from_secs(59)).await;
        lockouts.is_locked(CLIENT, "login", true);
    }
    tokio::time::advance(Duration::from_secs(4)).await;
    assert!(!lockouts.is_locked(CLIENT, "login", true));
}

/// Two applications with old passwords of one login behind one address: each counts once.
#[tokio::test(start_paused = true)]
async fn several_wrong_passwords_within_a_minute_count_once_each() {
    let lockouts = lockouts(5);
    for _ in 0..10 {
        lockouts.failed(CLIENT, "login", true, fingerprint(1));
        lockouts.failed(CLIENT, "login", true, fingerprint(2));
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    assert!(!lockouts.is_locked(CLIENT, "login", true));
    // Guesses count each.
    for number in 3..=5 {
        lockouts.failed(CLIENT, "login", true, fingerprint(number));
    }
    assert!(lockouts.is_locked(CLIENT, "login", true));
}

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// Made-up logins fill no memory, and the latest failures count.
#[tokio::test(start_paused = true)]
async fn memory_is_bounded() {
    let lockouts = lockouts(10);
    for number in 0..3 * CAP {
        let v6 = std::net::Ipv6Addr::from((number as u128) << 64);
        lockouts.failed(v6.into(), &format!("login-{number}"), false, fingerprint(0));
        if number % 1000 == 0 {
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    }
    assert!(lockouts.state.lock().records.len() <= CAP + 3);
    let last = std::net::Ipv6Addr::from((3 * CAP as u128 - 1) << 64);
    let key = (last.into(), LockoutScope::Unknown);
    assert!(lockouts.state.lock().records.contains_key(&key));
    // Expired failures are dropped first.
    tokio::time::advance(Duration::from_secs(601)).await;
    let mut state = lockouts.state.lock();
    state.forget(Instant::now());
    assert_eq!(state.records.len(), 0);
}

/// Off loopback, failures of a known login are delayed like those of an unknown one, whatever
/// failed before from the same address and whatever is locked.
#[tokio::test(start_paused = true)]
async fn time_does_not_tell_known_logins() {
    for failures in [3, 10] {
        let delays = |known: bool| {
            let lockouts = lockouts(failures);
            let mut delays = Vec::new();
            for number in 0..14 {
                // Every third attempt is the one under test, with its own login.
                let known = known && number % 3 == 2;
                let login = format!("login-{number}");
                let delay = match lockouts.is_locked(CLIENT, &login, known) {
                    true => SLOWEST,
                    false => lockouts.failed(CLIENT, &login, known, fingerprint(0)),
                };
                delays.push(delay);
            }
            delays
        };
        assert_eq!(delays(true), delays(false));
    }
    // A neighbour with the right password is not delayed.
    let lockouts = lockouts(3);
    for number in 0..14 {
        lockouts.failed(CLIENT, &format!("login-{number}"), false, fingerprint(0));
    }
    assert!(!lockouts.is_locked(CLIENT, "known", true));
}

/// At most as many checks are pending as may fail; others wait for one to end.
#[tokio::test(start_paused = true)]
async fn checks_in_progress_are_counted() {
    let lockouts = lockouts(3);
    lockouts.failed(CLIENT, "login", true, fingerprint(1));
    let first = lockouts.permit_check(CLIENT, "login").await.unwrap();
    let second = lockouts.permit_check(CLIENT, "login").await.unwrap();
    let moment = Duration::from_millis(1);
    let third = tokio::time::timeout(moment, lockouts.permit_check(CLIENT, "login")).await;
    assert!(third.is_err());
    assert!(lockouts.permit_check(CLIENT, "other").await.is_some());
    let waiting = tokio::spawn({
        let lockouts = lockouts.clone();
        async move { lockouts.permit_check(CLIENT, "login").await.is_some() }
    });
    tokio::task::yield_now().await;
    // A success frees a check, two failures lock.
    drop(first);
    assert!(waiting.await.unwrap());
    lockouts.failed(CLIENT, "login", true, fingerprint(2));
    lockouts.failed(CLIENT, "login", true, fingerprint(3));
    drop(second);
    assert!(lockouts.permit_check(CLIENT, "login").await.is_none());
    assert!(lockouts.state.lock().checks.is_empty());
}
