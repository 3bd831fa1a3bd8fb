//! The table of a redemption, path by path; the simulation in `tests/cluster` has the interleavings.

use super::*;
use crate::cluster::command::{Answer, Sealed};
use crate::cluster::number::Number;

const NOW: Duration = Duration::from_secs(100);
const PATIENCE: Duration = Duration::from_secs(20);

fn mark(generation: u64) -> Mark {
    Mark {
        number: Number {
            consent: 1,
            generation,
        },
        ended: false,
        digest: found_record(generation).mark().digest,
    }
}

fn found_record(generation: u64) -> Sealed {
    Sealed {
        number: Number {
            consent: 1,
            generation,
        },
        ended: false,
        text: format!("text {generation}").into(),
        life: None,
    }
}

fn found(generation: Option<u64>) -> Answer {
    let record = generation.map(found_record);
    Answer::Found {
        record,
        entry: None,
    }
}

fn started(one_use: bool) -> Redemption {
    let (redemption, step) =
        Redemption::new(one_use, Some(mark(1)), Usability::Redeemable, PATIENCE, NOW);
    assert_eq!(step, Step::Get);
    redemption
}

fn answer(redemption: &mut Redemption, answer: Answer) -> Step {
    redemption.on_answer(Some(&answer), 7, 0.5, NOW)
}

fn away(redemption: &mut Redemption) -> Step {
    redemption.on_answer(None, 7, 0.5, NOW)
}

#[test]
fn one_is_entered_redeems_and_gives() {
    for one_use in [true, false] {
        let mut one = started(one_use);
        assert_eq!(answer(&mut one, found(Some(1))), Step::Begin(7));
        assert_eq!(answer(&mut one, Answer::Done), Step::Redeem(Some(7)));
        assert_eq!(one.entered(), Some(7));
        assert_eq!(
            one.on_asked(Asked::Token),
            Step::Give(Outcome::Usable, None)
        );
    }
}

#[test]
fn a_greater_number_is_adopted_and_an_own_one_put_first() {
    let mut one = started(true);
    assert_eq!(answer(&mut one, found(Some(2))), Step::Adopt);
    let step = one.on_adopted(Some((mark(2), Usability::Usable)), 8);
    assert_eq!(step, Step::Give(Outcome::Usable, None));
    let mut one = started(true);
    for stored in [None, Some(0)] {
        one = started(true);
        assert_eq!(answer(&mut one, found(stored)), Step::Put);
    }
    assert_eq!(answer(&mut one, Answer::Done), Step::Begin(7));
    assert_eq!(answer(&mut one, Answer::Moved), Step::Get);
    // What cannot be opened is as good as away.
    assert_eq!(answer(&mut one, found(Some(3))), Step::Adopt);
    assert_eq!(
        one.on_adopted(None, 8),
        Step::Give(Outcome::Unavailable, None)
    );
}

#[test]
fn others_are_waited_for_no_longer_than_a_login_waits() {
    let mut one = started(true);
    assert_eq!(answer(&mut one, found(Some(1))), Step::Begin(7));
    let mut now = NOW;
    let mut polls = 0;
    loop {
        match one.on_answer(Some(&Answer::Held), 7, 0.9, now) {
            Step::Wait(time) => {
                assert!(time <= Duration::from_secs(1));
                now += time;
                polls += 1;
                assert_eq!(one.on_woken(), Step::Get);
                assert_eq!(answer(&mut one, found(Some(1))), Step::Begin(7));
            }
            step => {
                assert_eq!(step, Step::Give(Outcome::Held, None));
                break;
            }
        }
    }
    assert_eq!(now, NOW + PATIENCE);
    assert!((20..60).contains(&polls), "{polls}");
}

/// A store that does not answer is not a holder.
#[test]
fn without_the_store_only_reusable_tokens_are_redeemed() {
    let mut one = started(false);
    assert_eq!(away(&mut one), Step::Redeem(None));
    let mut one = started(true);
    assert_eq!(away(&mut one), Step::Give(Outcome::Unavailable, None));
    // The answer was lost, the entry may stand: it goes by its nonce.
    let mut one = started(true);
    answer(&mut one, found(Some(1)));
    assert_eq!(away(&mut one), Step::Give(Outcome::Unavailable, Some(7)));
    let mut one = started(false);
    assert_eq!(away(&mut one), Step::Redeem(None));
    let refused = one.on_asked(Asked::Invalid);
    assert_eq!(
        refused,
        Step::Give(Outcome::Refused(false), None),
        "alone marks nothing"
    );
}

#[test]
fn a_refusal_is_marked_unless_a_greater_number_is_there() {
    let refused = || {
        let mut one = started(true);
        answer(&mut one, found(Some(1)));
        answer(&mut one, Answer::Done);
        assert_eq!(one.on_asked(Asked::Invalid), Step::Get);
        one
    };
    let mut one = refused();
    assert_eq!(answer(&mut one, found(Some(1))), Step::End(7));
    assert_eq!(
        answer(&mut one, Answer::Done),
        Step::Give(Outcome::Refused(true), Some(7))
    );
    let mut one = refused();
    assert_eq!(answer(&mut one, found(Some(1))), Step::End(7));
    assert_eq!(
        answer(&mut one, Answer::Moved),
        Step::Give(Outcome::Refused(false), Some(7))
    );
    // The greater one is tried once.
    let mut one = refused();
    assert_eq!(answer(&mut one, found(Some(2))), Step::Adopt);
    assert_eq!(
        one.on_adopted(Some((mark(2), Usability::Redeemable)), 8),
        Step::Begin(8)
    );
    answer(&mut one, Answer::Done);
    assert_eq!(one.on_asked(Asked::Invalid), Step::Get);
    assert_eq!(answer(&mut one, found(Some(3))), Step::End(8));
    let mut one = refused();
    assert_eq!(away(&mut one), Step::Give(Outcome::Refused(false), Some(7)));
}

/// A store that is lost again and again is away in the end.
#[test]
fn a_loss_is_come_back_from_before_anything_else() {
    let mut one = started(true);
    let mut losses = 0;
    while answer(&mut one, Answer::Lost) == Step::Rejoin {
        assert_eq!(one.on_woken(), Step::Get);
        losses += 1;
        assert!(losses < 20);
    }
    assert!(losses >= 3);
    // In mid-redemption the request goes on.
    let mut one = started(true);
    answer(&mut one, found(Some(1)));
    answer(&mut one, Answer::Done);
    assert_eq!(one.on_asked(Asked::Invalid), Step::Get);
    assert_eq!(answer(&mut one, Answer::Lost), Step::Rejoin);
    assert_eq!(one.on_woken(), Step::Get);
}

#[test]
fn of_equal_numbers_the_stores_is_the_truth() {
    let ended = Mark {
        ended: true,
        ..mark(1)
    };
    assert_eq!(reconcile(Some(mark(1)), Some(mark(1))), Reconciled::Same);
    let other = Mark {
        digest: 0,
        ..mark(1)
    };
    assert_eq!(reconcile(Some(mark(1)), Some(other)), Reconciled::Adopt);
    assert_eq!(reconcile(Some(mark(1)), Some(ended)), Reconciled::Adopt);
    assert_eq!(reconcile(Some(ended), Some(mark(1))), Reconciled::Adopt);
    assert_eq!(reconcile(Some(mark(2)), Some(ended)), Reconciled::Put);
    assert_eq!(reconcile(Some(ended), Some(mark(2))), Reconciled::Adopt);
    assert_eq!(reconcile(None, None), Reconciled::Same);
}
