//! Turns, and records that cannot be written.

use super::super::super::issued::now_ms;
use super::*;
use crate::config::GeneratedSecret;
use crate::secret::Secret;

fn store(directory: &std::path::Path) -> Arc<Store> {
    Store::open(&State {
        directory: directory.join("state"),
        key: GeneratedSecret::Given(Secret::from("a key of some length")),
        wanted: true,
        store: None,
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

/// A byte order mark and UTF-16, which editors and shells write, are no part of the key, at the start
/// and afterwards.
#[test]
fn a_marked_key_is_the_same_after_the_start() {
    let text = "\u{feff}a key of some length\r\n";
    let utf_16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for octets in [text.as_bytes(), &utf_16] {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key");
        std::fs::write(&key, octets).unwrap();
        let state = State {
            directory: directory.path().join("state"),
            key: GeneratedSecret::File(key),
            wanted: true,
            store: None,
        };
        let opened = Store::open(&state).unwrap();
        assert!(opened.is_at(&state));
        let given = store(directory.path());
        assert_eq!(given.name("login"), opened.name("login"));
    }
}

/// The names in a record's sealed text are those of earlier versions.
#[test]
fn a_text_has_a_record_or_the_time_of_a_tombstone() {
    let number = Number::of_act(7, None);
    let text = |kept: &Kept| String::from_utf8(kept.clear().unwrap().to_vec()).unwrap();
    let consent = text(&Kept::of_record("l", &record("r")));
    let expected = r#"{"login":"l","record":{"provider":null,"tenant":null,"client_id":"c","refresh_token":"r","#;
    assert!(consent.starts_with(expected), "{consent}");
    let kept = Kept::from_clear(number, consent.as_bytes()).unwrap();
    assert_eq!(
        (kept.number(), kept.record().unwrap().number),
        (number, number)
    );
    let tombstone = Kept::from_clear(number, br#"{"login":"l","forgotten":5}"#).unwrap();
    assert_eq!(text(&tombstone), r#"{"login":"l","forgotten":5}"#);
    assert!(tombstone.record().is_none() && tombstone.is_spent());
    for wrong in [
        "{}",
        r#"{"login":"l"}"#,
        r#"{"forgotten":5}"#,
        r#"{"v":1,"login":"authrelay"}"#,
    ] {
        assert!(
            Kept::from_clear(number, wrong.as_bytes()).is_none(),
            "{wrong}"
        );
    }
}

/// Whoever refreshes reads, asks and writes: a record that is deleted meanwhile stays deleted.
#[tokio::test]
async fn what_is_forgotten_is_not_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    store.write("login", &record("r")).unwrap();
    let turn = store.lock("login", SHORT).await.unwrap();
    let forgetting = tokio::spawn({
        let store = store.clone();
        async move { store.forget("login", SHORT).await.unwrap() }
    });
    // Where it does not wait, it is done by then.
    tokio::time::sleep(Duration::from_millis(200)).await;
    store.write("login", &record("r")).unwrap();
    drop(turn);
    assert!(forgetting.await.unwrap());
    assert!(store.read("login").unwrap().is_none());
    assert!(!store.forget("login", SHORT).await.unwrap());
}

/// d21: nobody gets to the predecessor of a record that could not be written.
#[tokio::test(start_paused = true)]
async fn a_record_that_is_late_keeps_its_lock() {
    let directory = tempfile::tempdir().unwrap();
    let (store, other) = (store(directory.path()), store(directory.path()));
    store.write("login", &record("old")).unwrap();
    let turn = store.lock("login", SHORT).await.unwrap();
    turn.write_later(record("new"));
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
    turn.write_later(record("newer"));
    assert!(store.forget("login", SHORT).await.unwrap());
    assert!(store.read("login").unwrap().is_none());
    assert!(other.lock("login", SHORT).await.is_ok());
}

/// d48: `forget` waits for another process no longer than for a request, and says so.
#[tokio::test(start_paused = true)]
async fn d48_forget_does_not_wait_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let (store, other) = (store(directory.path()), store(directory.path()));
    store.write("login", &record("r")).unwrap();
    let _turn = other.lock("login", SHORT).await.unwrap();
    let refused = store.forget("login", SHORT).await.unwrap_err();
    assert!(refused.to_string().contains("another process"), "{refused}");
    assert!(store.read("login").unwrap().is_some());
}

/// d49: a pending record stays one while a request has it, and is written after that.
#[tokio::test(start_paused = true)]
async fn d49_a_record_that_a_request_holds_is_still_pending() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    store.write("login", &record("old")).unwrap();
    let turn = store.lock("login", SHORT).await.unwrap();
    turn.write_later(record("new"));
    let turn = store.lock("login", SHORT).await.unwrap();
    assert!(turn.pending.is_some());
    let stored = store.until_stored("login");
    let dropped = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        drop(turn);
    };
    tokio::join!(stored, dropped);
    // Only what is on disk.
    let other = self::store(directory.path());
    let read = other.read("login").unwrap().unwrap();
    assert_eq!(read.refresh_token.expose(), "new");
}

/// A consent replaces, and takes back, the last record and not its predecessor on disk.
#[tokio::test(start_paused = true)]
async fn a_pending_record_is_read_by_whoever_acts_for_a_person() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    store.write("login", &record("old")).unwrap();
    let turn = store.lock("login", SHORT).await.unwrap();
    turn.write_later(record("new"));
    let turn = store.lock_written("login", SHORT).await.unwrap();
    let read = store.load("login").await.unwrap().unwrap();
    assert_eq!(read.refresh_token.expose(), "new");
    drop(turn);
    assert_eq!(store.unstored(), 0);
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

/// What an earlier version has written is read and converted once, with its roll-back in mind.
#[tokio::test]
async fn records_of_the_first_format_are_converted_once() {
    let directory = tempfile::tempdir().unwrap();
    let tokens = directory.path().join("state/tokens");
    let count = || file::names(&tokens).len();
    let first = |login: &str, token: &str, consented: u64| {
        let store = store(directory.path());
        let json = serde_json::to_string(&record(token)).unwrap();
        let json = json.replace("\"consented\":5", &format!("\"consented\":{consented}"));
        let text = store.first.seal(json.as_bytes(), login).unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, login.as_bytes());
        let name: String = digest.as_ref()[..16]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        std::fs::write(tokens.join(name).with_extension("json"), text).unwrap();
    };
    let token = |store: &Store, login: &str| {
        let record = store.read(login).unwrap().unwrap();
        (record.refresh_token.expose().to_owned(), record.number)
    };
    drop(store(directory.path()));
    first("a@b", "old", 5);
    first("c@d", "other", 6);
    assert_eq!(count(), 3);
    let store = store(directory.path());
    assert_eq!(store.logins(), ["a@b", "c@d"]);
    assert_eq!(count(), 3, "the same number of files, under other names");
    assert_eq!(
        token(&store, "a@b"),
        (
            "old".into(),
            Number {
                consent: 5_000,
                generation: 0
            }
        )
    );
    // The earlier version ran again meanwhile: a later consent counts, an earlier one does not.
    first("a@b", "later", 7);
    assert_eq!(token(&self::store(directory.path()), "a@b").0, "later");
    first("a@b", "earlier", 6);
    assert_eq!(token(&self::store(directory.path()), "a@b").0, "later");
    assert_eq!(count(), 3);
    // Also where the store was open already.
    first("e@f", "late", 9);
    assert_eq!(token(&store, "e@f").0, "late");
}

/// What is forgotten has a tombstone, which beats every redemption of before, and ends after 90 days.
#[tokio::test]
async fn forget_leaves_a_tombstone_with_a_greater_number() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let mut ahead = record("r");
    ahead.number = Number::of_act(now_ms() + 3_600_000, None).redeemed();
    store.write("login", &ahead).unwrap();
    assert!(store.forget("login", SHORT).await.unwrap());
    let kept = store.kept("login").unwrap().unwrap();
    assert!(kept.record().is_none() && kept.number() > ahead.number);
    assert!(store.read("login").unwrap().is_none());
    assert!(store.logins().is_empty());
    assert!(
        !store.forget("login", SHORT).await.unwrap(),
        "nothing is there"
    );
    drop(self::store(directory.path()));
    assert!(store.kept("login").unwrap().is_some());
    let old = Kept::from_clear(kept.number(), br#"{"login":"login","forgotten":1}"#).unwrap();
    file::replace(
        &store.path("login"),
        store.seal_kept(&old).unwrap().as_bytes(),
    )
    .unwrap();
    drop(self::store(directory.path()));
    assert!(store.kept("login").unwrap().is_none());
}

/// A record of a later version is neither read, nor replaced, nor forgotten.
#[tokio::test]
async fn a_newer_format_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    store.write("login", &record("r")).unwrap();
    let path = store.path("login");
    let text = std::fs::read_to_string(&path).unwrap();
    let newer = text.replace("\"v\":2", "\"v\":3");
    assert_ne!(newer, text);
    std::fs::write(&path, &newer).unwrap();
    for error in [
        store.read("login").err(),
        store.forget("login", SHORT).await.err(),
    ] {
        assert!(error.unwrap().to_string().contains("a later version"));
    }
    assert!(store.write("login", &record("s")).is_err());
    drop(self::store(directory.path()));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);
}
