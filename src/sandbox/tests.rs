//! The parts that a client cannot see on their own.

use std::time::Duration;

use super::mailbox::Mailbox;
use super::tokens::Tokens;
use super::{Fault, clock};

#[test]
fn dates_are_written_as_each_protocol_wants_them() {
    let at = 1_763_896_340;
    assert_eq!(clock::mail(at), "Sun, 23 Nov 2025 11:12:20 +0000");
    assert_eq!(clock::internal(at), "23-Nov-2025 11:12:20 +0000");
    assert_eq!(clock::entra(at), "2025-11-23 11:12:20Z");
    assert_eq!(clock::exchange(at), "2025-11-23T11:12:20.000Z");
    assert_eq!(clock::entra(951_782_400), "2000-02-29 00:00:00Z");
    assert_eq!(clock::entra(0), "1970-01-01 00:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn a_token_is_good_until_it_expires() {
    let tokens = Tokens::default();
    let hour = Duration::from_secs(3600);
    let token = tokens.issue(2048, hour, "", None, None).unwrap();
    assert!(tokens.check(&token, None).is_some());
    tokio::time::advance(hour).await;
    assert!(tokens.check(&token, None).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_s_messages_beyond_its_rate_come_late() {
    let mailbox = Mailbox::new("a@b.test");
    let began = tokio::time::Instant::now();
    let mut turns = Vec::new();
    for _ in 0..5 {
        turns.push((mailbox.turn(2) - began).as_secs());
    }
    assert_eq!(turns, [0, 0, 60, 60, 120]);
    tokio::time::advance(Duration::from_secs(300)).await;
    assert_eq!((mailbox.turn(2) - began).as_secs(), 300);
}

#[test]
fn a_stale_token_is_one_from_before_the_fault() {
    let tokens = Tokens::default();
    let issue = || tokens.issue(8192, Duration::from_secs(60), "", None, None);
    let old = issue().unwrap();
    tokens.mark_stale();
    let new = issue().unwrap();
    assert!((8000..8400).contains(&new.len()), "{}", new.len());
    assert!(tokens.check(&old, Some(Fault::TokenStale)).is_none());
    assert!(tokens.check(&new, Some(Fault::TokenStale)).is_some());
    assert!(tokens.check(&old, None).is_some());
}
