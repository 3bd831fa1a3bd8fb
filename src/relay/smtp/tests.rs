//! Dialogues under a policy, each whole, octet by octet and cut at every place.

use super::*;
use crate::wire::address::Pattern;

/// One side's octets, in the order in which they come.
enum Turn {
    Client(&'static [u8]),
    Upstream(&'static [u8]),
}
use Turn::{Client, Upstream};

fn policy(max_size: Option<u64>, from: Option<&str>) -> Gate {
    let domain = |text: &str| Some(vec![Pattern::parse(text).unwrap()]);
    Gate {
        policy: Some(Policy {
            senders: domain("*@good.test"),
            recipients: domain("*@good.test"),
            max_size,
            from: from.map(str::to_owned),
        }),
        paced: false,
    }
}

/// What the upstream got, what the client got, and the machine.
fn play(gate: &Gate, leave: bool, turns: &[Turn], cut: Option<usize>) -> (String, String, Smtp) {
    let mut smtp = Smtp::new(Some(gate.clone()));
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let mut offset = 0;
    for turn in turns {
        let (Client(octets) | Upstream(octets)) = turn;
        let pieces: Vec<&[u8]> = match cut {
            None => octets.chunks(1).collect(),
            Some(at) => {
                let (head, tail) = octets.split_at(at.saturating_sub(offset).min(octets.len()));
                vec![head, tail]
            }
        };
        offset += octets.len();
        for piece in pieces {
            match turn {
                Client(_) => smtp.up(piece, &mut |octets| up.extend_from_slice(octets)),
                Upstream(_) => smtp.down(piece, &mut |octets| down.extend_from_slice(octets)),
            }
            while smtp.is_owing() || smtp.asks() {
                down.extend(smtp.take_ours());
                smtp.settle(&mut |octets| up.extend_from_slice(octets));
                if smtp.asks() {
                    smtp.leave(leave, &mut |octets| up.extend_from_slice(octets));
                }
            }
        }
    }
    let text = |octets| String::from_utf8(octets).unwrap();
    (text(up), text(down), smtp)
}

/// Plays every cut: all must come to the same, which is given.
fn every(gate: &Gate, leave: bool, turns: &[Turn]) -> (String, String, Vec<Message>) {
    let length: usize = turns
        .iter()
        .map(|turn| match turn {
            Client(octets) | Upstream(octets) => octets.len(),
        })
        .sum();
    let (up, down, mut smtp) = play(gate, leave, turns, None);
    let messages = smtp.finish();
    for cut in 0..=length {
        let (other_up, other_down, mut other) = play(gate, leave, turns, Some(cut));
        assert_eq!(other_up, up, "cut at {cut}");
        assert_eq!(other_down, down, "cut at {cut}");
        assert_eq!(other.finish(), messages, "cut at {cut}");
    }
    (up, down, messages)
}

const OPEN: &[u8] = b"250 2.1.0 Sender OK\r\n250 2.1.5 Recipient OK\r\n";

#[test]
fn refusals_keep_their_place_among_pipelined_commands() {
    let (up, down, messages) = every(
        &policy(None, None),
        true,
        &[
            Client(
                b"MAIL FROM:<a@good.test>\r\nRCPT TO:<x@bad.test>\r\nRCPT TO:<b@good.test>\r\n\
                  RCPT TO:<y@bad.test>\r\nDATA\r\n",
            ),
            Upstream(OPEN),
            Upstream(b"354 Go\r\n"),
            Client(b"x\r\n..\r\n\r\n.\r\nNOOP\r\n"),
            Upstream(b"250-2.0.0 OK\r\n250 <id@x> queued\r\n250 ok\r\n"),
        ],
    );
    assert_eq!(
        up,
        "MAIL FROM:<a@good.test>\r\nRCPT TO:<b@good.test>\r\nDATA\r\nx\r\n..\r\n\r\n.\r\nNOOP\r\n"
    );
    let refused = policy::RECIPIENT;
    assert_eq!(
        down,
        format!(
            "250 2.1.0 Sender OK\r\n{refused}250 2.1.5 Recipient OK\r\n{refused}354 Go\r\n\
             250-2.0.0 OK\r\n250 <id@x> queued\r\n250 ok\r\n"
        )
    );
    assert_eq!(
        messages,
        [Message {
            from: "a@good.test".into(),
            to: vec!["b@good.test".into()],
            size: 8,
            reply: Some("250-2.0.0 OK / 250 <id@x> queued".into()),
            outcome: Outcome::Accepted,
        }]
    );
}

#[test]
fn nothing_gets_past_a_refused_mail() {
    let (up, down, messages) = every(
        &policy(None, None),
        true,
        &[Client(
            b"MAIL FROM:<a@bad.test>\r\nRCPT TO:<b@good.test>\r\nDATA\r\nBDAT 6 LAST\r\nMAIL\r\n\
              AUTH PLAIN x\r\nSTARTTLS\r\nBURL imap://x LAST\r\nXCLIENT A=b\r\n\
              MAIL FROM:<a@good.test>\rRCPT TO:<y@bad.test>\r\nMAIL FROM:<@x:a@good.test>\r\n",
        )],
    );
    assert_eq!(up, "");
    let (sequence, unknown, syntax) = (policy::SEQUENCE, policy::UNKNOWN, policy::SYNTAX);
    assert_eq!(
        down,
        [
            policy::SENDER,
            sequence,
            sequence,
            sequence,
            sequence,
            sequence,
            unknown,
            unknown,
            syntax,
            syntax
        ]
        .concat()
    );
    assert!(messages.is_empty());
}

#[test]
fn data_that_was_refused_upstream_is_read_as_commands() {
    let (up, down, _) = every(
        &policy(None, None),
        true,
        &[
            Client(b"MAIL FROM:<a@good.test>\r\nRCPT TO:<b@good.test>\r\nDATA\r\nMAIL FROM:<a@bad.test>\r\n.\r\n"),
            Upstream(OPEN),
            Upstream(b"432 4.3.2 Concurrent connections limit exceeded.\r\n"),
        ],
    );
    assert!(up.ends_with("RCPT TO:<b@good.test>\r\nDATA\r\n"), "{up}");
    let ours = format!("{}{}", policy::SENDER, policy::UNKNOWN);
    assert!(down.ends_with(&ours), "{down}");
}

/// Requirement 13: never CRLF.CRLF upstream, whatever is over the size.
#[test]
fn a_message_over_the_size_is_never_completed() {
    let (up, down, mut smtp) = play(
        &policy(Some(5), None),
        true,
        &[
            Client(b"MAIL FROM:<a@good.test> SIZE=5\r\nRCPT TO:<b@good.test>\r\nDATA\r\n"),
            Upstream(OPEN),
            Upstream(b"354 Go\r\n"),
            Client(b"1234567\r\n.\r\n"),
        ],
        None,
    );
    assert!(up.ends_with("DATA\r\n12345"), "{up}");
    assert!(down.ends_with(policy::SIZE), "{down}");
    assert!(smtp.is_cut() && smtp.is_over());
    assert_eq!(smtp.finish()[0].outcome, Outcome::Rejected);
    assert_eq!(smtp.take_faults().len(), 1);
    // Exactly the size passes, dots of transparency and the end not counted.
    let (up, _, _) = every(
        &policy(Some(5), None),
        true,
        &[
            Client(b"MAIL FROM:<a@good.test>\r\nRCPT TO:<b@good.test>\r\nDATA\r\n"),
            Upstream(OPEN),
            Upstream(b"354 Go\r\n"),
            Client(b"..23\r\n.\r\n"),
        ],
    );
    assert!(up.ends_with("DATA\r\n..23\r\n.\r\n"), "{up}");
    let (up, down, _) = every(
        &policy(Some(5), None),
        true,
        &[Client(b"MAIL FROM:<a@good.test> SIZE=6\r\n")],
    );
    assert_eq!((up.as_str(), down.as_str()), ("", policy::SIZE));
}

#[test]
fn chunks_over_the_size_are_swallowed_and_the_upstream_forgets_the_rest() {
    let (up, down, messages) = every(
        &policy(Some(5), None),
        true,
        &[
            Client(
                b"MAIL FROM:<a@good.test>\r\nRCPT TO:<b@good.test>\r\nBDAT 3\r\n123BDAT 3\r\n\
                  QUIBDAT 4 LAST\r\nQUITNOOP\r\n",
            ),
            Upstream(OPEN),
            Upstream(b"250 chunk\r\n250 reset\r\n250 noop\r\n"),
        ],
    );
    assert!(up.ends_with("BDAT 3\r\n123RSET\r\nNOOP\r\n"), "{up}");
    let ours = format!(
        "250 chunk\r\n{}{}250 noop\r\n",
        policy::SIZE,
        policy::SEQUENCE
    );
    assert!(down.ends_with(&ours), "{down}");
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].outcome, Outcome::Rejected);
    assert_eq!(messages[0].from, "a@good.test");
}

#[test]
fn the_mailbox_stands_in_mail_and_from() {
    let expected = "From: S <box@good.test>\r\nReply-To: S <a@good.test>\r\n\r\nx\r\n";
    let (up, _, messages) = every(
        &policy(None, Some("box@good.test")),
        true,
        &[
            Client(b"MAIL FROM:<a@good.test> BODY=8BITMIME\r\nRCPT TO:<b@good.test>\r\nDATA\r\n"),
            Upstream(OPEN),
            Upstream(b"354 Go\r\n"),
            Client(b"From: S <a@good.test>\r\n\r\nx\r\n.\r\n"),
            Upstream(b"250 ok\r\n"),
        ],
    );
    assert!(
        up.starts_with("MAIL FROM:<box@good.test> BODY=8BITMIME\r\n"),
        "{up}"
    );
    assert!(up.ends_with(&format!("{expected}.\r\n")), "{up}");
    assert_eq!(messages[0].from, "box@good.test");
    let (up, _, _) = every(
        &policy(None, Some("box@good.test")),
        true,
        &[
            Client(
                b"MAIL FROM:<a@good.test>\r\nRCPT TO:<b@good.test>\r\nBDAT 23\r\n\
                  From: S <a@good.test>\r\nBDAT 5 LAST\r\n\r\nx\r\n",
            ),
            Upstream(OPEN),
            Upstream(b"250 chunk\r\n250 ok\r\n"),
        ],
    );
    assert!(
        up.contains("BDAT 0\r\nBDAT 58 LAST\r\n") || up.ends_with(expected),
        "{up}"
    );
}

#[test]
fn a_message_that_has_no_turn_is_refused_and_others_go_on() {
    let gate = Gate {
        policy: None,
        paced: true,
    };
    let turns = [
        Client(b"mail from:<A@b>\r\nNOOP\r\n"),
        Upstream(b"250 ok\r\n"),
    ];
    let (up, down, _) = every(&gate, false, &turns);
    assert_eq!(up, "NOOP\r\n");
    assert!(down.starts_with("451 4.7.1 "), "{down}");
    let (up, _, _) = every(&gate, true, &turns);
    assert_eq!(up, "mail from:<A@b>\r\nNOOP\r\n");
}

#[test]
fn what_was_under_way_is_lost() {
    let (_, _, messages) = every(
        &Gate::default(),
        true,
        &[
            Client(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"),
            Upstream(OPEN),
            Upstream(b"354 Go\r\n"),
            Client(b"half"),
        ],
    );
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].outcome, Outcome::Lost);
    assert_eq!((messages[0].size, messages[0].to.len()), (4, 1));
    assert_eq!(messages[0].reply, None);
}
