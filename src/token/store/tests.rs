//! Turns, and records that cannot be written.

use super::*;
use crate::config::StateKey;
use crate::secret::Secret;

fn store(directory: &std::path::Path) -> Arc<Store> {
    Store::open(&State {
        directory: directory.join("state"),
        key: StateKey::Given(Secret::from("a key of some length")),
        wanted: true,
    })
    .unwrap()
}

fn record(token: &str) -> StoredConsent {
    let json = format!(
        r#"{{"client_id":"c","refresh_token":"{token}","access":null,"identity":null,"consented":5,"refused":null}}"#
    );
    serde_json::from_str(&json).unwrap()
}

const SHORT: Duration = Duration::from_millis(1);

/// Whoever refreshes reads, asks and writes: a record that is deleted meanwhile stays deleted.
#[tokio::test]
async fn what_is_forgotten_is_not_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    store.write("login", &record("r")).unwrap();
    let turn = store.lock("login", SHORT).await.unwrap();
    let forgetting = {
        let store = store.clone();
        std::thread::spawn(move || store.forget("login").unwrap())
    };
    // Where it does not wait, it is done by then.
    std::thread::sleep(Duration::from_millis(200));
    store.write("login", &record("r")).unwrap();
    drop(turn);
    assert!(forgetting.join().unwrap());
    assert!(store.read("login").unwrap().is_none());
    assert!(!store.forget("login").unwrap());
}

/// d21: nobody gets to the predecessor of a record that could not be written.
#[tokio::test(start_paused = true)]
async fn a_record_that_is_late_keeps_its_lock() {
    let directory = tempfile::tempdir().unwrap();
    let (store, other) = (store(directory.path()), store(directory.path()));
    store.write("login", &record("old")).unwrap();
    let turn = store.lock("login", SHORT).await.unwrap();
    store.write_later("login", turn, record("new"));
    let refused = other.lock("login", SHORT).await.err().unwrap();
    assert_eq!(refused.class, Class::Later { throttled: false });
    assert!(!refused.fault.detail().contains("[cut]"), "{refused:?}");
    // The same process gets it, and whoever drops it without writing leaves it pending.
    drop(store.lock("login", SHORT).await.unwrap());
    assert!(other.lock("login", SHORT).await.is_err());
    store.until_stored("login").await;
    assert_eq!(
        store.read("login").unwrap().unwrap().refresh_token.expose(),
        "new"
    );
    assert!(other.lock("login", SHORT).await.is_ok());
    // A new consent, or `forget`, ends it as well.
    let turn = store.lock("login", SHORT).await.unwrap();
    store.write_later("login", turn, record("newer"));
    assert!(store.forget("login").unwrap());
    assert!(store.read("login").unwrap().is_none());
    assert!(other.lock("login", SHORT).await.is_ok());
}

#[tokio::test]
async fn room_is_used_once_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let count = || file::names(&directory.path().join("state/tokens")).len();
    let first = record("r");
    let room = store.make_room("login", &first).await.unwrap();
    drop(room);
    let room = store.make_room("login", &first).await.unwrap();
    store.fill(room, "login", &first).await.unwrap();
    // More than there is room for is written all the same.
    let room = store.make_room("login", &first).await.unwrap();
    let long = record(&"x".repeat(200_000));
    store.fill(room, "login", &long).await.unwrap();
    let read = store.read("login").unwrap().unwrap();
    assert_eq!(read.refresh_token.expose().len(), 200_000);
    assert_eq!(count(), 2, "the record and the seal's word");
    assert_eq!(store.logins(), ["login"]);
}
