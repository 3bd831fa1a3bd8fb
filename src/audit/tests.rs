//! The chain in memory, the file and its writer. `tests/relay` has the records of whole sessions.

use std::path::Path;
use std::time::Duration;

use super::envelopes::Envelopes;
use super::queue::Queue;
use super::*;
use crate::config::{self, AuditPath, OnFull};
use crate::platform;
use crate::platform::testing::{is_private, make_full};

const PATIENCE: Duration = Duration::from_secs(20);

fn settings(path: &Path, on_full: OnFull) -> config::Audit {
    config::Audit {
        path: Some(AuditPath::File(path.to_owned())),
        envelope: true,
        on_full,
        syslog: None,
        http: None,
        sign: None,
    }
}

fn record(session: &str) -> AuditRecord {
    AuditRecord {
        session: Some(session.to_owned()),
        ..AuditRecord::new(Event::Session)
    }
}

/// Writes one record per session, and ends.
fn write(path: &Path, sessions: &[&str]) {
    let audit = Audit::start(&settings(path, OnFull::Continue), None).unwrap();
    for session in sessions {
        audit.record(record(session));
    }
    assert_eq!(audit.finish(PATIENCE), 0);
    drop(audit);
    // Its thread closes the file a little later. Until then Windows lets nobody else write.
    assert!(platform::open_alone(path, PATIENCE).unwrap().is_some());
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn found(text: &str, after: Option<&str>, head: Option<&str>) -> ChainReport {
    verify([("a".to_owned(), text.as_bytes())], after, head, None).unwrap()
}

fn head(text: &str) -> String {
    found(text, None, None).head.unwrap()
}

#[test]
fn a_line_is_hashed_as_the_contract_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    write(&path, &["one", "tw\"o\n"]);
    let text = read(&path);
    let mut prev = START.to_owned();
    for line in text.lines() {
        let (before, behind) = line.split_once(",\"hash\":\"").unwrap();
        let hash = behind.strip_suffix("\"}").unwrap();
        assert_eq!(chain::hash(format!("{before}}}").as_bytes()), hash);
        assert!(before.ends_with(&format!(",\"prev\":\"{prev}\"")), "{line}");
        assert!(line.starts_with("{\"v\":1,\"time\":\"2"), "{line}");
        prev = hash.to_owned();
    }
    assert_eq!(text.lines().count(), 2);
    // FIPS 180-2, B.1.
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(chain::hash(b"abc"), abc);
}

#[test]
fn a_file_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/audit.jsonl");
    write(&path, &["one"]);
    assert!(is_private(&path));
    assert!(is_private(path.parent().unwrap()));
}

#[test]
fn a_chain_goes_on_behind_a_torn_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    write(&path, &["one", "two"]);
    let text = read(&path);
    let torn = &text[text.find('\n').unwrap() + 1..text.len() - 9];
    std::fs::write(&path, &text[..text.len() - 9]).unwrap();
    write(&path, &["three"]);
    assert_eq!(
        read(&folder.path().join("audit.jsonl.torn")),
        format!("{torn}\n")
    );
    let mended = read(&path);
    assert!(mended.contains("three") && !mended.contains("two"));
    assert_eq!(found(&mended, None, None).broken, []);
    // A torn first line leaves nothing.
    std::fs::write(&path, &text[..50]).unwrap();
    write(&path, &["four"]);
    assert_eq!(found(&read(&path), None, None).records, 1);
}

#[test]
fn what_is_no_audit_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letter");
    std::fs::write(&path, "Dear Sir,\n").unwrap();
    let error = Audit::start(&settings(&path, OnFull::Continue), None).unwrap_err();
    assert!(
        error.to_string().contains("is not an audit record"),
        "{error}"
    );
    assert_eq!(read(&path), "Dear Sir,\n");
    // Two writers would fork the chain.
    let path = folder.path().join("audit.jsonl");
    let first = Audit::start(&settings(&path, OnFull::Continue), None).unwrap();
    let error = Audit::start(&settings(&path, OnFull::Continue), None).unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
    drop(first);
}

#[test]
fn verify_finds_what_was_done_to_a_chain() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    write(&path, &["one", "two", "three", "four"]);
    let text = read(&path);
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let good = found(&text, None, None);
    assert_eq!((good.records, &good.broken), (4, &Vec::new()));
    let end = good.head.unwrap();
    assert_eq!(found(&text, None, Some(&end)).broken, []);

    let wrong = |text: &str, after: Option<&str>, head: Option<&str>| {
        let broken = found(text, after, head).broken;
        let shown: Vec<_> = broken.iter().map(ToString::to_string).collect();
        shown.join("\n")
    };
    let edited = text.replace("\"two\"", "\"tow\"");
    assert!(wrong(&edited, None, None).starts_with("a:2: was edited"));
    let deleted = [lines[0], lines[2], lines[3]].concat();
    assert!(wrong(&deleted, None, None).starts_with("a:2: does not follow"));
    let moved = [lines[0], lines[2], lines[1], lines[3]].concat();
    assert!(wrong(&moved, None, None).starts_with("a:2: does not follow"));
    let twice = [lines[0], lines[0], lines[1]].concat();
    assert!(wrong(&twice, None, None).starts_with("a:2: begins a new chain"));
    // A truncation is only detected with a known head.
    let short = lines[..3].concat();
    assert_eq!(wrong(&short, None, None), "");
    assert!(wrong(&short, None, Some(&end)).starts_with("a: does not end with the given head"));
    assert!(wrong("", None, Some(&end)).starts_with("a: does not end"));
    assert!(wrong(text.trim_end(), None, None).starts_with("a:4: ends within a record"));
    // The first files are gone.
    let behind = lines[2..].concat();
    assert!(wrong(&behind, None, None).starts_with("a:1: is not the first of its chain"));
    let before = head(&lines[..2].concat());
    assert_eq!(wrong(&behind, Some(&before), Some(&end)), "");
    assert!(wrong(&behind, Some(&end), None).starts_with("a:1: does not follow the record given"));
    assert!(wrong("no JSON\n", None, None).starts_with("a:1: is not an audit record"));
    let garbage = "x\n".repeat(10_000);
    assert!(found(&garbage, None, None).broken.len() <= 101);
}

/// An edit whose own hash was adapted is detected at the next record.
#[test]
fn verify_finds_an_edit_with_a_hash_that_fits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    write(&path, &["one", "two"]);
    let text = read(&path);
    let (first, second) = text.split_once('\n').unwrap();
    let (before, _) = first.split_once(",\"hash\":\"").unwrap();
    let forged = before.replace("one", "eno");
    let hash = chain::hash(format!("{forged}}}").as_bytes());
    let text = format!("{forged},\"hash\":\"{hash}\"}}\n{second}");
    let broken = found(&text, None, None).broken;
    assert_eq!(broken.len(), 1);
    assert_eq!(broken[0].line, 2);
}

#[test]
fn a_chain_goes_on_in_the_next_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let old = folder.path().join("audit.jsonl.1");
    let audit = Audit::start(&settings(&path, OnFull::Continue), None).unwrap();
    audit.record(record("one"));
    assert_eq!(audit.finish(PATIENCE), 0);
    std::fs::rename(&path, &old).unwrap();
    // Until `reopen` the old file is written.
    audit.record(record("two"));
    assert_eq!(audit.finish(PATIENCE), 0);
    audit.reopen();
    assert_eq!(audit.finish(PATIENCE), 0);
    audit.record(record("three"));
    assert_eq!(audit.finish(PATIENCE), 0);
    let (old, new) = (read(&old), read(&path));
    assert_eq!(found(&old, None, None).records, 2);
    assert_eq!(found(&new, Some(&head(&old)), None).broken, []);
    let files = [
        ("1".to_owned(), old.as_bytes()),
        ("2".to_owned(), new.as_bytes()),
    ];
    let both = verify(files, None, None, None).unwrap();
    assert_eq!((both.records, both.broken.len()), (3, 0));
}

/// A device that is always full: records without room are counted, or logins are refused.
#[test]
fn a_full_device_drops_or_refuses() {
    let full = Path::new("/dev/full");
    let audit = Audit::start(&settings(full, OnFull::Continue), None).unwrap();
    audit.record(record("one"));
    assert!(audit.finish(Duration::from_millis(100)) > 0);
    assert!(!audit.blocks_logins());
    for _ in 0..2 * queue::QUEUE_FULL / 1024 {
        audit.record(record("more"));
    }
    assert!(audit.0.queue.dropped() > 0);
    let audit = Audit::start(&settings(full, OnFull::Refuse), None).unwrap();
    assert!(!audit.blocks_logins());
    audit.record(record("one"));
    assert!(audit.finish(Duration::from_millis(100)) > 0);
    assert!(audit.blocks_logins());
}

/// Dropped records are recorded in the chain where they are missing.
#[test]
fn a_gap_is_a_record() {
    let queue = Queue::new(OnFull::Continue, None);
    let most = queue::QUEUE_FULL / record("one").octets();
    for _ in 0..most + 7 {
        queue.push(record("one"));
    }
    let mut taken = Vec::new();
    while !queue.is_empty() {
        taken.extend(queue.take(true, None).records);
    }
    queue.push(record("after"));
    taken.extend(queue.take(true, None).records);
    let [.., gap, after] = &taken[..] else {
        panic!()
    };
    assert_eq!(taken.len(), most + 2);
    assert_eq!((gap.event, gap.records), (Event::Dropped, Some(7)));
    assert_eq!(after.session.as_deref(), Some("after"));
}

#[test]
fn many_messages_are_several_records() {
    let message = |n: usize| AuditMessage {
        from: "a@b.test".into(),
        to: vec![format!("{n}@y.test")],
        size: 1,
        reply: Some("250 2.0.0 OK".into()),
    };
    let mut envelopes = Envelopes::default();
    let (mut records, mut messages) = (0, 0);
    for n in 0..10_000 {
        if let Some(full) = envelopes.add(vec![message(n)]) {
            assert!(full.iter().map(AuditMessage::octets).sum::<usize>() < 65 * 1024);
            records += 1;
            messages += full.len();
        }
    }
    messages += envelopes.take().len();
    assert_eq!(messages, 10_000);
    assert!(records > 10, "{records}");
}

/// The disk is full and the last line torn: moving it waits for space, as every record does.
#[test]
fn d44_a_torn_line_waits_for_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    write(&path, &["one", "two"]);
    let text = read(&path);
    let torn = text.len() - 9;
    std::fs::write(&path, &text[..torn]).unwrap();
    // No file can be created there.
    let aside = folder.path().join("audit.jsonl.torn");
    if !make_full(&aside) {
        return;
    }
    for on_full in [OnFull::Continue, OnFull::Refuse] {
        let audit = Audit::start(&settings(&path, on_full), None).unwrap();
        audit.record(record("three"));
        assert_eq!(audit.finish(Duration::from_millis(100)), 1);
        assert_eq!(audit.blocks_logins(), on_full == OnFull::Refuse);
        assert_eq!(read(&path), text[..torn]);
    }
    let audit = Audit::start(&settings(&path, OnFull::Continue), None).unwrap();
    audit.record(record("four"));
    std::fs::remove_file(&aside).unwrap();
    assert_eq!(audit.finish(PATIENCE), 0);
    drop(audit);
    let mended = read(&path);
    assert_eq!(found(&mended, None, None).records, 2, "{mended}");
    assert!(read(&aside).ends_with('\n'));
}
