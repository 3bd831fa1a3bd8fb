//! Dialogues under a policy: whole, octet by octet, and cut at every position.

use std::time::Duration;

use super::*;
use crate::relay::MessageReport;
use crate::wire::address::Pattern;

/// Octets of one side, in order of arrival.
enum Turn {
    Client(&'static [u8]),
    Upstream(&'static [u8]),
}
use Turn::{Client, Upstream};

fn policy(max_size: Option<u64>, from: Option<&str>) -> SmtpRules {
    let domain = |text: &str| Some(vec![Pattern::parse(text).unwrap()]);
    SmtpRules {
        policy: Some(Policy {
            senders: domain("*@good.test"),
            recipients: domain("*@good.test"),
            max_size,
            from: from.map(str::to_owned),
        }),
        chunking: true,
        ..SmtpRules::default()
    }
}

/// Results of a session.
#[derive(Default)]
struct Played {
    up: Vec<u8>,
    down: Vec<u8>,
    messages: Vec<MessageReport>,
    faults: Vec<Fault>,
    backoff: Option<Duration>,
    requests: usize,
}

impl Played {
    fn take(&mut self, action: Action<'_>) {
        match action {
            Action::ToClient(octets) => self.down.extend_from_slice(octets),
            Action::ToUpstream(octets) => self.up.extend_from_slice(octets),
            Action::Record(Event::Message(message)) => self.messages.push(message),
            Action::Record(Event::Fault(fault)) => self.faults.push(fault),
            Action::BackOff(time) => self.backoff = Some(time),
            Action::RequestPermit(_) => self.requests += 1,
            Action::CloseUpstream
            | Action::DropUpstream
            | Action::ReleasePermit
            | Action::OpenUpstream(_) => {}
        }
    }
}

/// Returns the octets for the upstream, those for the client, and the results.
fn play(
    rules: &SmtpRules,
    grant: bool,
    turns: &[Turn],
    cut: Option<usize>,
) -> (String, String, Played, Smtp) {
    let mut smtp = Smtp::new(rules.clone());
    let mut played = Played::default();
    let mut offset = 0;
    let permit = if grant {
        Permit::Granted
    } else {
        Permit::TooMany
    };
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
                Client(_) => smtp.on_client(piece, &mut |action| played.take(action)),
                Upstream(_) => smtp.on_upstream(piece, &mut |action| played.take(action)),
            }
            while played.requests > 0 {
                played.requests -= 1;
                smtp.on_permit(permit, &mut |action| played.take(action));
            }
            smtp.on_client_flushed(&mut |action| played.take(action));
        }
    }
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    let (up, down) = (text(&played.up), text(&played.down));
    (up, down, played, smtp)
}

/// Plays a dialogue with every cut. All must have the same result, which is returned.
fn every(rules: &SmtpRules, grant: bool, turns: &[Turn]) -> (String, String, Vec<MessageReport>) {
    let length: usize = turns
        .iter()
        .map(|turn| match turn {
            Client(octets) | Upstream(octets) => octets.len(),
        })
        .sum();
    let finish = |(up, down, mut played, mut smtp): (String, String, Played, Smtp)| {
        smtp.on_end(&mut |action| played.take(action));
        (up, down, played.messages)
    };
    let (up, down, messages) = finish(play(rules, grant, turns, None));
    for cut in 0..=length {
        let (other_up, other_down, others) = finish(play(rules, grant, turns, Some(cut)));
        assert_eq!(other_up, up, "cut at {cut}");
        assert_eq!(other_down, down, "cut at {cut}");
        assert_eq!(others, messages, "cut at {cut}");
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
    let refused = crate::relay::smtp::policy::RECIPIENT;
    assert_eq!(
        down,
        format!(
            "250 2.1.0 Sender OK\r\n{refused}250 2.1.5 Recipient OK\r\n{refused}354 Go\r\n\
             250-2.0.0 OK\r\n250 <id@x> queued\r\n250 ok\r\n"
        )
    );
    assert_eq!(
        messages,
        [MessageReport {
            from: "a@good.test".into(),
            to: vec!["b@good.test".into()],
            size: 8,
            reply: Some("250-2.0.0 OK / 250 <id@x> queued".into()),
            outcome: MessageOutcome::Accepted,
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
    let (sequence, unknown, syntax) = (
        crate::relay::smtp::policy::SEQUENCE,
        crate::relay::smtp::policy::UNKNOWN,
        crate::relay::smtp::policy::SYNTAX,
    );
    assert_eq!(
        down,
        [
            crate::relay::smtp::policy::SENDER,
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
    let ours = format!(
        "{}{}",
        crate::relay::smtp::policy::SENDER,
        crate::relay::smtp::policy::UNKNOWN
    );
    assert!(down.ends_with(&ours), "{down}");
}

#[test]
fn a_message_over_the_size_is_never_completed() {
    let (up, down, mut played, mut smtp) = play(
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
    assert!(down.ends_with(crate::relay::smtp::policy::SIZE), "{down}");
    assert!(smtp.is_aborted() && smtp.is_over());
    smtp.on_end(&mut |action| played.take(action));
    assert_eq!(played.messages[0].outcome, MessageOutcome::Rejected);
    assert_eq!(played.faults.len(), 1);
    // A message of exactly the size passes; added dots and the end do not count.
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
    assert_eq!(
        (up.as_str(), down.as_str()),
        ("", crate::relay::smtp::policy::SIZE)
    );
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
            Upstream(b"250 chunk\r\n250 reset\r\n"),
            Upstream(b"250 noop\r\n"),
        ],
    );
    assert!(up.ends_with("BDAT 3\r\n123RSET\r\nNOOP\r\n"), "{up}");
    let ours = format!(
        "250 chunk\r\n{}{}250 noop\r\n",
        crate::relay::smtp::policy::SIZE,
        crate::relay::smtp::policy::SEQUENCE
    );
    assert!(down.ends_with(&ours), "{down}");
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].outcome, MessageOutcome::Rejected);
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
    let rules = SmtpRules {
        rate_limited: true,
        ..SmtpRules::default()
    };
    let turns = [
        Client(b"mail from:<A@b>\r\nNOOP\r\n"),
        Upstream(b"250 ok\r\n"),
    ];
    let (up, down, _) = every(&rules, false, &turns);
    assert_eq!(up, "NOOP\r\n");
    assert!(down.starts_with("451 4.7.1 "), "{down}");
    let (up, _, _) = every(&rules, true, &turns);
    assert_eq!(up, "mail from:<A@b>\r\nNOOP\r\n");
}

#[test]
fn what_was_under_way_is_lost() {
    let (_, _, messages) = every(
        &SmtpRules::default(),
        true,
        &[
            Client(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"),
            Upstream(OPEN),
            Upstream(b"354 Go\r\n"),
            Client(b"half"),
        ],
    );
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].outcome, MessageOutcome::Lost);
    assert_eq!((messages[0].size, messages[0].to.len()), (4, 1));
    assert_eq!(messages[0].reply, None);
}

#[test]
fn the_mail_service_says_how_long_it_wants_to_be_left_alone() {
    let second = Duration::from_secs;
    for (reply, expected) in [
        (
            "432 4.3.2 Concurrent connections limit exceeded.",
            Some(second(10)),
        ),
        (
            "432 4.3.2 Suggested Backoff Time: 3 seconds",
            Some(second(3)),
        ),
        (
            "451 4.3.0 Request is throttled. Suggested Backoff Time: 299000 milliseconds",
            Some(second(299)),
        ),
        (
            "451 suggested backoff time: 99999999999999999999999",
            Some(second(3600)),
        ),
        ("451 Suggested Backoff Time: soon", None),
        ("250 Suggested Backoff Time: 1000 milliseconds", None),
        ("451 4.7.0 Temporary server error.", None),
    ] {
        let turns = [
            Client(b"NOOP\r\n"),
            Upstream(reply.as_bytes()),
            Upstream(b"\r\n"),
        ];
        let (_, _, played, _) = play(&SmtpRules::default(), true, &turns, None);
        assert_eq!(played.backoff, expected, "{reply}");
    }
}
