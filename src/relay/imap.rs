//! Tracks relayed IMAP: tags, literals, IDLE and COMPRESS (RFC 9051 §2.2, RFC 2177, RFC 4978).

use super::framing::LineEnds;
use super::interface::{Action, Event, Out, TrackedProtocol};
use crate::wire::Protocol;
use crate::wire::literal::{Line, Scanner};

/// State of both directions of an IMAP session.
#[derive(Debug, Default)]
pub struct Imap {
    up: Scanner,
    down: Scanner,
    /// Number of commands without a tagged response.
    open: u32,
    /// A pending IDLE after which the client sent nothing.
    idle: Option<Idle>,
    /// Tag of a pending COMPRESS.
    compress: Option<Vec<u8>>,
    /// Command that is being sent and has an outstanding literal.
    sending: Option<Sending>,
    /// Whether the stream is compressed, so that nothing can be tracked any more.
    opaque: bool,
    /// Whether the client has sent LOGOUT.
    logout: bool,
    closing_announced: bool,
    first_answers: FirstAnswers,
}

/// State of the upstream's first replies after the login, which may show that the mailbox is
/// closed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum FirstAnswers {
    /// No tagged reply has arrived.
    #[default]
    Due,
    /// A command succeeded: from now on only a reply that names the mailbox counts.
    Good,
    /// A reply showed that the mailbox is closed, and the fault was recorded.
    Refused,
}

#[derive(Debug)]
struct Sending {
    tag: Vec<u8>,
    /// Whether the client waits for `+` before it sends the literal; the upstream may refuse the
    /// command instead.
    waits: bool,
}

#[derive(Debug)]
struct Idle {
    tag: Vec<u8>,
    /// Whether the upstream replied with `+`.
    agreed: bool,
}

impl TrackedProtocol for Imap {
    fn protocol(&self) -> Protocol {
        Protocol::Imap
    }

    fn on_client(&mut self, octets: &[u8], out: Out<'_>) {
        let mut at = 0;
        let mut ends = LineEnds::of(octets);
        while at < octets.len() && !self.opaque {
            let (taken, line) = self.up.take(octets.get(at..).unwrap_or_default());
            at += taken;
            if let Some(line) = line {
                if line.bare {
                    ends.repair(at, out);
                }
                self.command_line(&line);
            }
        }
        ends.finish(out);
    }

    fn on_upstream(&mut self, octets: &[u8], out: Out<'_>) {
        out(Action::ToClient(octets));
        let mut rest = octets;
        while !rest.is_empty() && !self.opaque {
            let (taken, line) = self.down.take(rest);
            rest = rest.get(taken..).unwrap_or_default();
            if let Some(line) = line {
                if let Some(event) = self.closed_mailbox(&line) {
                    out(Action::Record(event));
                }
                self.response_line(&line);
            }
        }
    }

    fn at_reply_boundary(&self) -> bool {
        !self.opaque && self.down.is_at_boundary()
    }

    fn is_idle(&self) -> bool {
        let idles = self.idle.as_ref().is_some_and(|idle| idle.agreed);
        let answered = self.open == 0 || (self.open == 1 && idles);
        self.at_reply_boundary() && answered && self.up.is_at_boundary()
    }

    fn closing_announced(&self) -> bool {
        self.closing_announced
    }
}

impl Imap {
    pub(super) fn new() -> Self {
        Self {
            down: Scanner::of_responses(),
            ..Self::default()
        }
    }

    fn command_line(&mut self, line: &Line) {
        let mut sending = self.sending.take();
        if let Some(head) = &line.head {
            let tag = head.word(0);
            if head.word_is(0, "DONE") && self.idle.is_some() {
                self.idle = None;
            } else if !tag.is_empty() {
                self.open = self.open.saturating_add(1);
                self.idle = head.word_is(1, "IDLE").then(|| Idle {
                    tag: tag.to_vec(),
                    agreed: false,
                });
                self.logout |= head.word_is(1, "LOGOUT");
                if head.word_is(1, "COMPRESS") {
                    self.compress = Some(tag.to_vec());
                }
            }
            sending = Some(Sending {
                tag: tag.to_vec(),
                waits: false,
            });
        }
        self.sending = line.literal.and_then(|literal| {
            let tag = sending?.tag;
            let waits = literal.synchronizing;
            Some(Sending { tag, waits })
        });
    }

    /// Detects a mailbox that stays closed after login. Exchange accepts the login of a token that
    /// may not open the mailbox and says so at the first command: "User is authenticated but not
    /// connected", or an unsolicited BYE.
    fn closed_mailbox(&mut self, line: &Line) -> Option<Event> {
        let head = line.head.as_ref()?;
        if self.first_answers == FirstAnswers::Refused {
            return None;
        }
        let is = |word| head.word_is(1, word);
        let bye = head.word(0) == b"*" && is("BYE");
        let refusal = !matches!(head.word(0), b"*" | b"+") && (is("NO") || is("BAD"));
        if !bye && !refusal {
            if is("OK") && head.word(0) != b"*" {
                self.first_answers = FirstAnswers::Good;
            }
            return None;
        }
        let text = String::from_utf8_lossy(head.text()).to_ascii_lowercase();
        // An unsolicited BYE in reply to the first command.
        let unasked = bye
            && self.first_answers == FirstAnswers::Due
            && self.open > 0
            && !self.logout
            && !text.contains("accesstokenexpired");
        if !unasked && !text.contains("authenticated but not connected") {
            return None;
        }
        self.first_answers = FirstAnswers::Refused;
        Some(Event::mailbox_closed(head.text()))
    }

    fn response_line(&mut self, line: &Line) {
        let Some(head) = &line.head else {
            return;
        };
        let status = ["OK", "NO", "BAD"].iter().any(|word| head.word_is(1, word));
        match head.word(0) {
            b"*" if head.word_is(1, "BYE") => self.closing_announced = true,
            b"*" => {}
            b"+" => {
                if let Some(sending) = &mut self.sending {
                    sending.waits = false;
                }
                // Replies come in order, so with several commands pending the `+` is not IDLE's.
                if let Some(idle) = self.idle.as_mut().filter(|_| self.open == 1) {
                    idle.agreed = true;
                }
            }
            tag if status => self.answered(tag, head.word_is(1, "OK")),
            _ => {}
        }
    }

    /// Handles the tagged response to a command.
    fn answered(&mut self, tag: &[u8], ok: bool) {
        self.open = self.open.saturating_sub(1);
        let is = |other: &Vec<u8>| other.eq_ignore_ascii_case(tag);
        self.idle.take_if(|idle| is(&idle.tag));
        if self.compress.take_if(|compress| is(compress)).is_some() {
            self.opaque = ok;
        }
        // The command was refused before its literal was sent, so the literal will not follow.
        let refused = self
            .sending
            .take_if(|sending| sending.waits && is(&sending.tag));
        if refused.is_some() {
            self.up.abandon();
        }
    }
}
