//! Every cell of the tables in the module's header.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const LEAST: Duration = Duration::from_secs(300);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn grant(token: &str, unstored: bool) -> IssuedToken {
    IssuedToken {
        unstored,
        ..IssuedToken::new(Secret::from(token), HOUR)
    }
}

fn failure(class: Class) -> TokenError {
    TokenError::new(class, "said").asked()
}

const LATER: Class = Class::Later { throttled: false };

/// Creates an entry in a state, and the time at which it is in that state.
fn in_state(state: State) -> (CachedToken, Instant) {
    let mut life = CachedToken::default();
    let now = Instant::now();
    match state {
        State::None => {}
        State::Valid => drop(life.on_obtained(&grant("t", false), LEAST, now)),
        State::Due => {
            life.on_obtained(&grant("t", false), LEAST, now);
            return (life, now + HOUR - seconds(400));
        }
        State::Unstored => drop(life.on_obtained(&grant("t", true), LEAST, now)),
        State::Paused => drop(life.on_failed(failure(LATER), true, now)),
        State::Attention => drop(life.on_failed(failure(Class::Attention), true, now)),
        State::Ended => drop(life.on_failed(failure(Class::Ended), true, now)),
    }
    (life, now)
}

const ALL: [State; 7] = [
    State::None,
    State::Valid,
    State::Due,
    State::Paused,
    State::Attention,
    State::Ended,
    State::Unstored,
];

#[test]
fn what_a_login_gets() {
    for (state, expected) in [
        (State::None, "fetch"),
        (State::Valid, "use"),
        (State::Due, "use and refresh"),
        (State::Paused, "refuse"),
        (State::Attention, "refuse"),
        (State::Ended, "refuse"),
        (State::Unstored, "use"),
    ] {
        let (life, now) = in_state(state);
        assert_eq!(life.state(now), state);
        let got = match life.next(now) {
            Decision::Use(..) => "use",
            Decision::UseAndRefresh(..) => "use and refresh",
            Decision::Fetch => "fetch",
            Decision::Refuse(_) => "refuse",
        };
        assert_eq!(got, expected, "{state:?}");
    }
}

/// An event, and the states to which it leads from each of [`ALL`].
type Cell = (&'static str, fn(&mut CachedToken, Instant), [State; 7]);

#[test]
fn where_every_event_leads() {
    use State::{Attention, Due, Ended, None, Paused, Unstored, Valid};
    let table: [Cell; 9] = [
        (
            "obtained",
            |life, now| drop(life.on_obtained(&grant("u", false), LEAST, now)),
            [Valid; 7],
        ),
        (
            "obtained, not stored",
            |life, now| drop(life.on_obtained(&grant("u", true), LEAST, now)),
            [Unstored; 7],
        ),
        (
            "stored",
            |life, _| life.on_stored(),
            [None, Valid, Due, Paused, Attention, Ended, Valid],
        ),
        // During a pause a due token counts as valid: it is not refreshed.
        (
            "later",
            |life, now| {
                life.on_failed(failure(LATER), true, now);
            },
            [Paused, Valid, Valid, Paused, Paused, Paused, Unstored],
        ),
        (
            "ours",
            |life, now| {
                life.on_failed(failure(Class::Ours), true, now);
            },
            [Paused, Valid, Valid, Paused, Paused, Paused, Unstored],
        ),
        (
            "the client's",
            |life, now| {
                life.on_failed(failure(Class::Client), true, now);
            },
            [Paused, Valid, Valid, Paused, Paused, Paused, Unstored],
        ),
        (
            "attention",
            |life, now| {
                life.on_failed(failure(Class::Attention), true, now);
            },
            [
                Attention, Valid, Valid, Attention, Attention, Attention, Unstored,
            ],
        ),
        (
            "ended",
            |life, now| {
                life.on_failed(failure(Class::Ended), true, now);
            },
            [Ended, Valid, Valid, Ended, Ended, Ended, Unstored],
        ),
        ("another record", |life, _| life.renew(), [None; 7]),
    ];
    for (event, happens, expected) in table {
        for (from, to) in ALL.into_iter().zip(expected) {
            let (mut life, now) = in_state(from);
            happens(&mut life, now);
            assert_eq!(life.state(now), to, "{event} while {from:?}");
        }
    }
}

#[test]
fn a_token_that_an_upstream_refuses_goes_at_most_once_a_minute() {
    for state in ALL {
        let (mut life, now) = in_state(state);
        let generation = life.generation;
        if !life.has_token() {
            assert!(life.on_refused(generation, false, "a", now), "{state:?}");
            continue;
        }
        // A token fetched for this login, or accepted for another mailbox, stays.
        assert!(!life.on_refused(generation, true, "a", now), "{state:?}");
        life.on_accepted(generation, "b", now);
        assert!(!life.on_refused(generation, false, "a", now), "{state:?}");
        let later = now + PROTECTED;
        assert!(life.on_refused(generation, false, "a", later), "{state:?}");
        assert!(!life.has_token());
        assert_eq!(life.state(now), State::None, "{state:?}");
        // Another login with the same token waits for the same request.
        assert!(life.on_refused(generation, false, "a", later), "{state:?}");
        // The next token is not discarded within the minute.
        life.on_obtained(&grant("u", false), LEAST, later);
        assert!(life.on_refused(generation, false, "a", later));
        assert!(!life.on_refused(life.generation, false, "a", later));
    }
}

#[test]
fn pauses_grow_with_failures_of_one_class() {
    for (class, consent, expected) in [
        (
            LATER,
            true,
            vec![1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300],
        ),
        (Class::Attention, false, vec![10, 20, 40, 80, 160, 300, 300]),
        (
            Class::Attention,
            true,
            vec![10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600],
        ),
        (Class::Ended, true, vec![10, 20, 40, 80, 160, 300, 300]),
        (Class::Client, false, vec![10, 20, 40, 80, 160, 300, 300]),
        (Class::Ours, true, vec![1, 2, 4, 8, 10, 10]),
    ] {
        let (mut life, mut now) = in_state(State::None);
        for pause in expected {
            life.on_failed(failure(class), consent, now);
            assert_ne!(
                life.state(now + seconds(pause) - seconds(1) / 2),
                State::None
            );
            now += seconds(pause);
            assert_eq!(life.state(now), State::None, "{class:?} {pause}");
        }
        // Another class begins with the first pause; throttling and outages are one class.
        let other = match class {
            LATER => Class::Attention,
            _ => LATER,
        };
        life.on_failed(failure(other), consent, now);
        assert_eq!(life.state(now + seconds(10)), State::None, "{class:?}");
    }
    let (mut life, now) = in_state(State::Paused);
    life.on_failed(failure(Class::Later { throttled: true }), true, now);
    assert_eq!(life.state(now + seconds(1)), State::Paused, "2 s by now");
    // An endpoint's Retry-After counts.
    let asks = |seconds: u64| TokenError {
        retry_after: Some(Duration::from_secs(seconds)),
        ..failure(LATER)
    };
    let (mut life, now) = in_state(State::None);
    life.on_failed(asks(90), false, now);
    assert_eq!(life.state(now + seconds(89)), State::Paused);
    assert_eq!(life.state(now + seconds(90)), State::None);
}

/// What other relays or their store stand in the way of costs nobody anything: no pause grows.
#[test]
fn a_brief_failure_is_looked_at_again_soon_and_said_once() {
    let (mut life, mut now) = in_state(State::None);
    for first in [true, false, false, false, false] {
        assert_eq!(life.on_failed(TokenError::brief("held"), true, now), first);
        assert_eq!(life.state(now + seconds(1) / 2), State::Paused);
        now += seconds(1);
        assert_eq!(life.state(now), State::None);
    }
    assert!(life.on_failed(TokenError::brief("away"), true, now));
    // They are no reason for a longer pause afterwards.
    life.on_failed(failure(LATER), true, now);
    assert_eq!(life.state(now + seconds(1)), State::None);
}

#[test]
fn a_missing_consent_is_said_once() {
    let (mut life, now) = in_state(State::None);
    assert!(life.on_failed(failure(Class::Ended), true, now));
    assert!(!life.on_failed(failure(Class::Ended), true, now + HOUR));
    assert!(life.on_failed(TokenError::new(Class::Ended, "another"), true, now + HOUR));
    assert!(life.on_failed(failure(Class::Attention), true, now + HOUR));
    assert!(life.on_failed(failure(Class::Attention), true, now + HOUR * 2));
}

#[test]
fn whoever_waits_for_the_answer_asks_again() {
    for state in ALL {
        let (mut life, now) = in_state(state);
        life.ask_again();
        let expected = match state {
            State::Attention => State::None,
            other => other,
        };
        assert_eq!(life.state(now), expected);
    }
}

/// The remaining lifetime is never below the margin, except for tokens that live less than twice
/// that.
#[test]
fn how_much_a_new_session_needs() {
    for (lifetime, least, needed) in [
        (3600, 300, 300),
        (1199, 300, 300),
        (600, 300, 300),
        (599, 300, 149),
        (60, 300, 15),
        (3600, 1200, 1200),
        (2400, 1200, 1200),
        (2399, 1200, 599),
        (3600, 0, 0),
    ] {
        let margin = margin(seconds(lifetime), seconds(least));
        assert_eq!(margin.as_secs(), needed, "{lifetime} {least}");
        let mut life = CachedToken::default();
        let now = Instant::now();
        let grant = IssuedToken::new(Secret::from("t"), seconds(lifetime));
        life.on_obtained(&grant, seconds(least), now);
        let end = now + seconds(lifetime) - margin;
        let is_used = |at| {
            matches!(
                life.next(at),
                Decision::Use(..) | Decision::UseAndRefresh(..)
            )
        };
        assert!(is_used(end - seconds(1)) && !is_used(end), "{lifetime}");
        // The age counts: a token that is obtained later does not end later.
        let mut later = CachedToken::default();
        let aged = IssuedToken {
            age: seconds(lifetime / 3),
            ..grant.clone()
        };
        later.on_obtained(&aged, seconds(least), now + aged.age);
        assert!(matches!(later.next(end), Decision::Fetch), "{lifetime}");
    }
}
