//! Places and turns, on a clock that stands still.

use super::*;

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

const WAIT: Duration = Duration::from_secs(25);

#[tokio::test(start_paused = true)]
async fn places_are_given_in_order_and_no_more_than_there_are() {
    let quotas = Quotas::default();
    let quota = quotas.mailbox("p", "Box@x.test");
    assert!(Arc::ptr_eq(&quota, &quotas.mailbox("p", "box@X.test")));
    let mut held = Vec::new();
    for _ in 0..3 {
        let (place, wait) = quota.place(3, WAIT, far()).await.unwrap();
        assert_eq!(wait, Wait::Immediate);
        held.push(place);
    }
    let order = Arc::new(Mutex::new(Vec::new()));
    let waiting: Vec<_> = (0..4)
        .map(|n| {
            let (quota, order) = (quota.clone(), order.clone());
            tokio::spawn(async move {
                let place = quota.place(3, WAIT, far()).await;
                order.lock().unwrap().push((n, place.is_some()));
                drop(place);
            })
        })
        .collect();
    tokio::task::yield_now().await;
    assert!(order.lock().unwrap().is_empty());
    held.pop();
    for task in waiting {
        task.await.unwrap();
    }
    let all: Vec<_> = (0..4).map(|n| (n, true)).collect();
    assert_eq!(*order.lock().unwrap(), all);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_and_takes_nothing_with_it() {
    let quota = Arc::new(Quota::default());
    let place = quota.place(1, WAIT, far()).await.unwrap();
    let began = Instant::now();
    assert!(quota.place(1, WAIT, far()).await.is_none());
    assert_eq!(began.elapsed(), WAIT);
    let soon = Instant::now() + Duration::from_secs(3);
    assert!(quota.place(1, WAIT, soon).await.is_none());
    assert_eq!(began.elapsed(), WAIT + Duration::from_secs(3));
    drop(place);
    assert!(quota.place(1, WAIT, far()).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn another_configuration_changes_the_number_of_places() {
    let quota = Arc::new(Quota::default());
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(quota.place(3, WAIT, far()).await.unwrap());
    }
    assert!(quota.place(1, WAIT, far()).await.is_none());
    held.truncate(1);
    assert!(quota.place(1, WAIT, far()).await.is_none(), "one is taken");
    held.clear();
    let one = quota.place(1, WAIT, far()).await;
    assert!(one.is_some());
    assert!(quota.place(1, WAIT, far()).await.is_none());
    assert!(quota.place(2, WAIT, far()).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn messages_take_turns() {
    let quota = Quota::default();
    let began = Instant::now();
    let turn = |after: u64| Turn::At(began + Duration::from_secs(after));
    for _ in 0..3 {
        assert_eq!(quota.message(3, WAIT), Turn::Now);
    }
    assert_eq!(quota.message(3, WAIT), Turn::Never);
    tokio::time::advance(Duration::from_secs(40)).await;
    for _ in 0..3 {
        assert_eq!(quota.message(3, WAIT), turn(60));
    }
    assert_eq!(quota.message(3, WAIT), Turn::Never, "at 120 s");
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(quota.message(3, WAIT), turn(120));
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_is_left_alone() {
    let quota = Quota::default();
    let began = Instant::now();
    quota.back_off(Protocol::Smtp, Duration::from_secs(20));
    quota.back_off(Protocol::Smtp, Duration::from_secs(5));
    let until = began + Duration::from_secs(20);
    assert_eq!(quota.pause(Protocol::Smtp), Some(until));
    assert_eq!(quota.pause(Protocol::Imap), None);
    assert_eq!(quota.message(30, WAIT), Turn::At(until));
    quota.back_off(Protocol::Smtp, Duration::from_secs(100));
    assert_eq!(quota.message(30, WAIT), Turn::Never);
    tokio::time::advance(Duration::from_secs(101)).await;
    assert_eq!(quota.message(30, WAIT), Turn::Now);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_spent_is_forgotten() {
    let quotas = Quotas::default();
    let kept = quotas.mailbox("p", "kept");
    quotas.mailbox("p", "sent").message(1, WAIT);
    for n in 0..3 * REMEMBERED {
        quotas.mailbox("p", &n.to_string());
    }
    assert!(lock(&quotas.known).len() <= REMEMBERED);
    assert!(Arc::ptr_eq(&kept, &quotas.mailbox("p", "kept")));
    assert_eq!(quotas.mailbox("p", "sent").message(1, WAIT), Turn::Never);
}
