//! Messages in flight and messages per minute, on a paused clock.

use super::*;

const WAIT: Duration = Duration::from_secs(25);

fn limits(in_flight: usize, per_minute: usize) -> Limits {
    Limits {
        in_flight,
        per_minute,
        wait: WAIT,
    }
}

#[tokio::test(start_paused = true)]
async fn permits_are_given_in_order_and_no_more_than_there_are() {
    let throttles = Throttles::default();
    let throttle = throttles.of_mailbox("p", "Box@x.test");
    assert!(Arc::ptr_eq(
        &throttle,
        &throttles.of_mailbox("p", "box@X.test")
    ));
    let mut held = Vec::new();
    for _ in 0..3 {
        let permit = throttle.permit(limits(3, 100)).await.unwrap();
        assert!(!permit.waited);
        held.push(permit);
    }
    let order = Arc::new(Mutex::new(Vec::new()));
    let waiting: Vec<_> = (0..4)
        .map(|n| {
            let (throttle, order) = (throttle.clone(), order.clone());
            tokio::spawn(async move {
                let permit = throttle.permit(limits(3, 100)).await;
                order.lock().push((n, permit.map(|permit| permit.waited)));
            })
        })
        .collect();
    tokio::task::yield_now().await;
    assert!(order.lock().is_empty());
    held.pop();
    for task in waiting {
        task.await.unwrap();
    }
    let all: Vec<_> = (0..4).map(|n| (n, Ok(true))).collect();
    assert_eq!(*order.lock(), all);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_and_takes_nothing_with_it() {
    let throttle = Arc::new(MailboxThrottle::default());
    let permit = throttle.permit(limits(1, 100)).await.unwrap();
    let began = Instant::now();
    let denied = throttle.permit(limits(1, 100)).await.unwrap_err();
    assert_eq!((denied, began.elapsed()), (Denied::Full, WAIT));
    // A client that has left holds no place in the queue.
    let gone = tokio::time::timeout(Duration::from_secs(1), throttle.permit(limits(1, 100)));
    assert!(gone.await.is_err());
    drop(permit);
    assert!(throttle.permit(limits(1, 100)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn another_configuration_changes_the_number_of_messages_in_flight() {
    let throttle = Arc::new(MailboxThrottle::default());
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(throttle.permit(limits(3, 100)).await.unwrap());
    }
    assert!(throttle.permit(limits(1, 100)).await.is_err());
    held.truncate(1);
    let denied = throttle.permit(limits(1, 100)).await;
    assert!(denied.is_err(), "one is in flight");
    held.clear();
    let one = throttle.permit(limits(1, 100)).await;
    assert!(one.is_ok());
    assert!(throttle.permit(limits(1, 100)).await.is_err());
    assert!(throttle.permit(limits(2, 100)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn messages_begin_in_a_sliding_minute() {
    let throttle = Arc::new(MailboxThrottle::default());
    let began = Instant::now();
    for _ in 0..3 {
        drop(throttle.permit(limits(9, 3)).await.unwrap());
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    // Denied at once, since waiting cannot help.
    let denied = throttle.permit(limits(9, 3)).await.unwrap_err();
    assert_eq!((denied, began.elapsed()), (Denied::TooMany, Duration::ZERO));
    tokio::time::advance(Duration::from_secs(40)).await;
    // A reservation that is given up is returned.
    let gone = tokio::time::timeout(Duration::from_secs(1), throttle.permit(limits(9, 3)));
    assert!(gone.await.is_err());
    let permit = throttle.permit(limits(9, 3)).await.unwrap();
    assert!(permit.waited);
    for _ in 0..2 {
        drop(throttle.permit(limits(9, 3)).await.unwrap());
    }
    assert_eq!(began.elapsed(), Duration::from_secs(60));
    assert!(throttle.permit(limits(9, 3)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_is_left_alone() {
    let throttle = Arc::new(MailboxThrottle::default());
    let began = Instant::now();
    throttle.back_off(Protocol::Smtp, Duration::from_secs(20));
    throttle.back_off(Protocol::Smtp, Duration::from_secs(5));
    let until = began + Duration::from_secs(20);
    assert_eq!(throttle.backoff_until(Protocol::Smtp), Some(until));
    assert_eq!(throttle.backoff_until(Protocol::Imap), None);
    drop(throttle.permit(limits(3, 30)).await.unwrap());
    assert_eq!(Instant::now(), until);
    throttle.back_off(Protocol::Smtp, Duration::from_secs(100));
    assert_eq!(
        throttle.permit(limits(3, 30)).await.unwrap_err(),
        Denied::TooMany
    );
    tokio::time::advance(Duration::from_secs(101)).await;
    assert!(throttle.permit(limits(3, 30)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_in_use_is_forgotten() {
    let throttles = Throttles::default();
    let kept = throttles.of_mailbox("p", "kept");
    let spend = |throttle: &Arc<MailboxThrottle>| {
        let reserved = throttle.reserve(1, Duration::ZERO);
        let granted = reserved.is_some();
        reserved.into_iter().for_each(Reservation::begin);
        granted
    };
    assert!(spend(&throttles.of_mailbox("p", "sent")));
    for n in 0..3 * MAX_REMEMBERED {
        throttles.of_mailbox("p", &n.to_string());
    }
    assert!(throttles.known.lock().len() <= MAX_REMEMBERED);
    assert!(Arc::ptr_eq(&kept, &throttles.of_mailbox("p", "kept")));
    assert!(!spend(&throttles.of_mailbox("p", "sent")));
}

/// Two simultaneous sessions get different times: in any minute no more messages begin than
/// allowed.
#[test]
fn simultaneous_reservations_take_different_times() {
    const PER_MINUTE: usize = 3;
    const EACH: usize = 20_000;
    let throttle = Arc::new(MailboxThrottle::default());
    let start = std::sync::Barrier::new(4);
    let reserve = || {
        start.wait();
        let one = || {
            let reservation = throttle.reserve(PER_MINUTE, Duration::from_secs(100_000_000));
            let reservation = reservation.unwrap();
            let time = reservation.time();
            reservation.begin();
            time
        };
        (0..EACH).map(|_| one()).collect::<Vec<_>>()
    };
    let mut times: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(reserve)).collect();
        let times = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        times.collect()
    });
    assert_eq!(times.len(), 4 * EACH);
    times.sort();
    for minute in times.windows(PER_MINUTE + 1) {
        assert!(minute[PER_MINUTE] - minute[0] >= MINUTE, "{minute:?}");
    }
}
