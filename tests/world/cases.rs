//! Single sessions, input by input: what the seeds reach too seldom to be relied upon.

use std::time::Duration;

use authrelay::fault::{Fault, Kind};
use authrelay::relay::{
    Action, End, Event, Input, Machine, MessageOutcome, MessageReport, Next, Permit, Policy,
    SmtpRules, Tracker,
};
use authrelay::wire::Protocol;
use authrelay::wire::address::Pattern;
use authrelay::wire::literal::TAG_CAP;
use tokio::time::Instant;

/// A machine, and what it did.
struct Played {
    machine: Machine,
    now: Instant,
    up: String,
    down: String,
    opened: Vec<String>,
    messages: Vec<MessageReport>,
    faults: Vec<Fault>,
    held: bool,
}

impl Played {
    fn new(tracker: Tracker) -> Self {
        let now = Instant::now();
        Self {
            machine: Machine::new(tracker, Duration::from_secs(10), now),
            now,
            up: String::new(),
            down: String::new(),
            opened: Vec::new(),
            messages: Vec::new(),
            faults: Vec::new(),
            held: false,
        }
    }

    fn of_senders(rate_limited: bool) -> Self {
        let senders = vec![Pattern::parse("*@good.test").unwrap()];
        Self::new(Tracker::with_rules(SmtpRules {
            policy: Some(Policy {
                senders: Some(senders),
                recipients: None,
                max_size: None,
                from: None,
            }),
            rate_limited,
            chunking: true,
            by_sender: Some("250-authrelay\r\n250 CHUNKING\r\n".into()),
            ..SmtpRules::default()
        }))
    }

    fn input(&mut self, input: Input<'_>) {
        let flushed = Input::Flushed {
            client: true,
            upstream: true,
        };
        for input in [input, flushed] {
            let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
            self.machine
                .handle(input, self.now, &mut |action| match action {
                    Action::ToClient(octets) => self.down += &text(octets),
                    Action::ToUpstream(octets) => self.up += &text(octets),
                    Action::OpenUpstream(mailbox) => self.opened.push(mailbox.into()),
                    Action::Record(Event::Message(message)) => self.messages.push(message),
                    Action::Record(Event::Fault(fault)) => self.faults.push(fault),
                    Action::RequestPermit(_) => self.held = true,
                    Action::ReleasePermit => self.held = false,
                    Action::CloseUpstream | Action::DropUpstream | Action::BackOff(_) => {}
                });
        }
    }

    fn client(&mut self, text: &str) {
        self.input(Input::Client(text.as_bytes()));
    }

    fn upstream(&mut self, text: &str) {
        self.input(Input::Upstream(text.as_bytes()));
    }

    /// What the client was told since the last time.
    fn told(&mut self) -> String {
        std::mem::take(&mut self.down)
    }

    fn end(&self) -> Option<End> {
        match self.machine.next() {
            Next::End(end) => Some(end),
            Next::Wait(_) => None,
        }
    }

    /// Lets the next deadline come; how long that took.
    fn wait(&mut self) -> Duration {
        let Next::Wait(interest) = self.machine.next() else {
            panic!("it has ended");
        };
        let waited = interest.until - self.now;
        self.now = interest.until;
        self.input(Input::Timeout);
        waited
    }
}

/// RCPT behind a MAIL that is refused has its reply from the upstream that refused it.
#[test]
fn f62_no_reply_is_taken_from_another_senders_upstream() {
    let mut played = Played::of_senders(false);
    played.client("MAIL FROM:<a@good.test>\r\nRCPT TO:<c@x.test>\r\nMAIL FROM:<b@good.test>\r\n");
    played.input(Input::UpstreamOpened);
    played.upstream("550 5.7.60 no\r\n");
    assert_eq!(played.opened, ["a@good.test"]);
    played.upstream("503 5.5.2 Need mail command\r\n");
    assert_eq!(played.opened, ["a@good.test", "b@good.test"]);
    assert_eq!(
        played.told(),
        "550 5.7.60 no\r\n503 5.5.2 Need mail command\r\n"
    );
    played.input(Input::UpstreamOpened);
    played.upstream("250 2.1.0 Sender OK\r\n");
    assert_eq!(played.told(), "250 2.1.0 Sender OK\r\n");
}

/// What an upstream says between two messages is nobody's, however it is cut.
#[test]
fn f62_what_is_said_between_messages_answers_nothing() {
    let words = "421 4.4.2 Connection dropped\r\n";
    for cut in 1..words.len() {
        for next in ["NOOP\r\n", "MAIL FROM:<a@good.test>\r\n"] {
            let mut played = Played::of_senders(false);
            played.client("MAIL FROM:<a@good.test>\r\n");
            played.input(Input::UpstreamOpened);
            played.upstream("250 ok\r\n");
            played.client("RSET\r\n");
            played.upstream("250 reset\r\n");
            played.told();
            let (head, tail) = words.split_at(cut);
            played.upstream(head);
            played.client(next);
            if played.opened.len() == 1 {
                played.upstream(tail);
                played.input(Input::UpstreamEnded);
            } else {
                played.input(Input::UpstreamOpened);
                played.upstream("250 2.1.0 Sender OK\r\n");
            }
            let told = played.told();
            let expected = match next.starts_with("NOOP") {
                true => "250 2.0.0 Done.\r\n",
                false => "250 2.1.0 Sender OK\r\n",
            };
            assert_eq!(told, expected, "cut at {cut}");
            assert!(played.end().is_none(), "cut at {cut}");
            // The next message has an upstream that has not said good-bye.
            if expected.ends_with("Done.\r\n") {
                played.client("MAIL FROM:<a@good.test>\r\n");
                assert_eq!(played.opened.len(), 2, "cut at {cut}");
            }
        }
    }
}

/// An answer of ours that waited for the end of a reply is given where that never comes.
#[test]
fn f62_an_upstream_that_ends_inside_a_reply_keeps_back_no_answer() {
    let mut played = Played::of_senders(false);
    played.client("MAIL FROM:<a@good.test>\r\n");
    played.input(Input::UpstreamOpened);
    played.upstream("550 no\r\n");
    played.told();
    played.upstream("421 half a ");
    played.client("NOOP\r\n");
    played.input(Input::UpstreamEnded);
    assert_eq!(played.told(), "250 2.0.0 Done.\r\n");
}

/// QUIT behind a message says nothing of an upstream that is lost before its final reply.
#[test]
fn f62_a_message_that_is_lost_before_quit_is_told_of() {
    let mut played = Played::of_senders(false);
    played.client("MAIL FROM:<a@good.test>\r\nRCPT TO:<c@x.test>\r\nDATA\r\n");
    played.input(Input::UpstreamOpened);
    played.upstream("250 ok\r\n250 ok\r\n354 go\r\n");
    played.client("x\r\n.\r\nQUIT\r\n");
    played.input(Input::UpstreamEnded);
    let end = played.end().unwrap();
    assert_eq!(end.fault.map(|fault| fault.kind()), Some(Kind::Lost));
    assert!(end.reply.starts_with(b"421 4.4.2 "));
    assert_eq!(played.messages[0].outcome, MessageOutcome::Lost);
    // One that has its final reply hears the good-bye, and nothing is wrong.
    let mut played = Played::of_senders(false);
    played.client("QUIT\r\n");
    assert_eq!(played.told(), "221 2.0.0 Goodbye.\r\n");
    assert_eq!(played.end().unwrap().fault, None);
}

/// RFC 5321 §4.1.1.1: HELO has one line.
#[test]
fn f62_helo_has_one_line() {
    let mut played = Played::of_senders(false);
    played.client("helo x\r\n");
    assert_eq!(played.told(), "250 authrelay\r\n");
    played.client("EHLO x\r\n");
    assert_eq!(played.told(), "250-authrelay\r\n250 CHUNKING\r\n");
}

/// Not an octet of a command is lost where a session cannot be followed any more.
#[test]
fn d05_half_a_command_outlives_the_loss_of_track() {
    let mut played = Played::new(Tracker::new(Protocol::Smtp));
    played.client("MAIL FROM:<a@x.test>\r\nBDAT 5 LAST\r\nhelloNO");
    played.upstream("250 ok\r\n500 5.5.1 what\r\n");
    played.client("OP\r\n");
    assert!(played.up.ends_with("helloNOOP\r\n"), "{}", played.up);
    let long = "x".repeat(5000);
    let mut played = Played::new(Tracker::new(Protocol::Smtp));
    played.client(&format!("STARTTLS\r\n{long}"));
    played.upstream("220 go\r\n");
    played.client("y\r\n");
    assert_eq!(played.up, format!("STARTTLS\r\n{long}y\r\n"));
}

/// A chunk that only the upstream understands is no message that nobody knows of.
#[test]
fn d05_a_chunk_that_is_taken_although_it_is_none_is_recorded() {
    let mut played = Played::new(Tracker::new(Protocol::Smtp));
    played.client("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nBDAT 5 LAST X=Y\r\nhello");
    played.upstream("250 ok\r\n250 ok\r\n250 2.0.0 OK <id>\r\n");
    assert_eq!(played.messages.len(), 1);
    assert_eq!(played.messages[0].reply.as_deref(), Some("unknown"));
    assert_eq!(played.faults.len(), 1);
    assert!(played.up.ends_with("hello"), "{}", played.up);
    // One that it refuses is refused, and the session goes on.
    let mut played = Played::new(Tracker::new(Protocol::Smtp));
    played.client("MAIL FROM:<a@x.test>\r\nBDAT x\r\n");
    played.upstream("250 ok\r\n501 5.5.4 no\r\n");
    assert_eq!((played.messages.len(), played.faults.len()), (0, 0));
}

/// A message that comes in chunks is finished as one that comes by DATA is.
#[test]
fn r37_a_drain_finishes_a_message_between_two_chunks() {
    let mut played = Played::new(Tracker::new(Protocol::Smtp));
    played.client("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nBDAT 1\r\nx");
    played.upstream("250 ok\r\n250 ok\r\n250 chunk\r\n");
    played.input(Input::Drain(Duration::from_secs(30)));
    assert!(played.end().is_none());
    played.client("BDAT 1 LAST\r\ny");
    played.upstream("250 2.0.0 OK <id>\r\n");
    assert_eq!(played.messages[0].outcome, MessageOutcome::Accepted);
    assert!(played.end().unwrap().reply.starts_with(b"421 4.3.2 "));
}

/// Who waits for us is not idle, and is not forgotten either.
#[test]
fn f11_a_message_that_waits_is_not_idle() {
    let mut played = Played::of_senders(true);
    played.client("MAIL FROM:<a@good.test>\r\n");
    assert_eq!(played.wait(), Duration::from_secs(3600));
    assert!(played.end().is_some());
    let mut played = Played::of_senders(true);
    played.client("MAIL FROM:<a@good.test>\r\n");
    played.now += Duration::from_secs(60);
    played.input(Input::Permit(Permit::Granted));
    played.now += Duration::from_secs(60);
    played.input(Input::UpstreamOpened);
    played.upstream("250 ok\r\n");
    assert_eq!(played.wait(), Duration::from_secs(10));
    assert_eq!(played.end().unwrap().fault.unwrap().kind(), Kind::Idle);
}

/// The permit of a message that may still be taken is given back when its connection is closed,
/// which its driver knows and the machine does not.
#[test]
fn f10_the_end_of_a_session_is_not_the_end_of_its_message() {
    let mut played = Played::new(Tracker::with_rules(SmtpRules {
        rate_limited: true,
        ..SmtpRules::default()
    }));
    played.client("MAIL FROM:<a@good.test>\r\nRCPT TO:<c@x.test>\r\nDATA\r\n");
    played.input(Input::Permit(Permit::Granted));
    played.upstream("250 ok\r\n250 ok\r\n354 go\r\n");
    played.client("x\r\n.\r\n");
    played.input(Input::ClientGone("reset".into()));
    assert!(played.end().is_some() && played.held);
}

/// A mail service that is lost inside a message is a fault, whatever its client has sent behind.
#[test]
fn quit_behind_retr_hides_no_loss() {
    for (commands, said, fault) in [
        ("RETR 1\r\nQUIT\r\n", "+OK\r\nhalf a mess", Some(Kind::Lost)),
        ("RETR 1\r\nQUIT\r\n", "", Some(Kind::Lost)),
        ("RETR 1\r\nQUIT\r\n", "+OK\r\nx\r\n.\r\n", None),
        ("QUIT\r\n", "+OK bye\r\n", None),
    ] {
        let mut played = Played::new(Tracker::new(Protocol::Pop3));
        played.client(commands);
        played.upstream(said);
        played.input(Input::UpstreamEnded);
        let end = played.end().unwrap();
        assert_eq!(end.fault.map(|fault| fault.kind()), fault, "{said:?}");
        assert!(end.reply.is_empty());
    }
}

/// A tag as long as the login takes it hides neither the command nor the status of its response, which
/// announces no literal.
#[test]
fn a_long_tag_is_followed_like_a_short_one() {
    for length in [1, 64, 90, 500, TAG_CAP] {
        let tag = "t".repeat(length);
        let mut played = Played::new(Tracker::new(Protocol::Imap));
        played.client(&format!("{tag} NOOP\r\n"));
        assert!(!played.machine.tracker().is_idle(), "{length}");
        played.upstream(&format!("{tag} OK as you wish {{3}}\r\n"));
        assert!(played.machine.tracker().is_idle(), "{length}");
        played.client(&format!("{tag} IDLE\r\n"));
        played.upstream("+ idling\r\n");
        assert!(played.machine.tracker().is_idle(), "{length}");
    }
}

/// IDLE may be sent before the command before it was answered.
#[test]
fn r35_idle_behind_another_command_is_idle() {
    let mut played = Played::new(Tracker::new(Protocol::Imap));
    played.client("a NOOP\r\nb IDLE\r\n");
    played.upstream("a OK\r\n+ idling\r\n");
    played.client("DONE\r\n");
    assert!(!played.machine.tracker().is_idle());
    played.upstream("b OK\r\n");
    assert!(played.machine.tracker().is_idle());
    played.client("c NOOP\r\nd IDLE\r\n");
    played.upstream("c OK\r\n+ idling\r\n");
    played.input(Input::Drain(Duration::from_secs(30)));
    assert!(played.end().unwrap().reply.starts_with(b"* BYE "));
}

/// A second drain that is shorter counts, one that is longer does not. The last half a second is for
/// closing the connections.
#[test]
fn r37_a_shorter_drain_ends_a_session_sooner() {
    for (second, expected) in [(1, 500), (90, 7_500)] {
        let mut played = Played::new(Tracker::new(Protocol::Smtp));
        played.client("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n");
        played.upstream("250 ok\r\n250 ok\r\n354 go\r\n");
        played.input(Input::Drain(Duration::from_secs(8)));
        played.input(Input::Drain(Duration::from_secs(second)));
        assert!(played.end().is_none());
        played.client("half a mess");
        assert_eq!(played.wait(), Duration::from_millis(expected), "{second}");
        assert!(played.end().is_some());
    }
}

/// A message over the size, while the upstream is in the middle of a reply that nobody asked for:
/// no line of ours begins inside that reply.
#[test]
fn f66_no_last_word_inside_a_reply() {
    let mut played = Played::new(Tracker::with_rules(SmtpRules {
        policy: Some(Policy {
            senders: None,
            recipients: None,
            max_size: Some(10),
            from: None,
        }),
        ..SmtpRules::default()
    }));
    played.client("MAIL FROM:<a@good.test>\r\nRCPT TO:<b@good.test>\r\nDATA\r\n");
    played.upstream("250 2.1.0 OK\r\n250 2.1.5 OK\r\n354 go\r\n");
    played.told();
    played.upstream("421 4.4.");
    played.client("more than ten octets\r\n.\r\n");
    let end = played.end().unwrap();
    assert_eq!(played.told(), "421 4.4.");
    assert_eq!(end.reply, "");
    assert_eq!(played.messages.len(), 1);
}

/// A chunk whose reply never came, although RSET follows it: its message may have been refused.
#[test]
fn f67_a_chunk_without_reply_before_a_reset_is_a_lost_message() {
    let mut played = Played::new(Tracker::new(Protocol::Smtp));
    played.client("MAIL FROM:<a@good.test>\r\nRCPT TO:<b@good.test>\r\n");
    played.upstream("250 2.1.0 OK\r\n250 2.1.5 OK\r\n");
    played.client("BDAT 4\r\ntextEHLO x\r\n");
    played.input(Input::ClientGone("reset".to_owned()));
    assert!(played.end().is_some());
    let [message] = &played.messages[..] else {
        panic!("{:?}", played.messages);
    };
    assert_eq!(message.outcome, MessageOutcome::Lost);
    assert_eq!((message.from.as_str(), message.size), ("a@good.test", 4));
}
