//! IMAP seen in passing: tags, literals, IDLE and COMPRESS (RFC 9051 §2.2, RFC 2177, RFC 4978).

use crate::wire::literal::{Line, Scanner};

/// Where the two directions stand.
#[derive(Debug)]
pub struct Imap {
    up: Scanner,
    down: Scanner,
    /// Commands without tagged response.
    open: u32,
    /// The only open command is IDLE and the upstream agreed.
    idling: Idling,
    /// The tag of a COMPRESS that is not answered.
    compress: Option<Vec<u8>>,
    /// The command that is being sent, while a literal of it is outstanding.
    sending: Option<Sending>,
    /// Compressed, or not understood: nothing is known any more.
    opaque: bool,
    goodbye: bool,
}

#[derive(Debug)]
struct Sending {
    tag: Vec<u8>,
    /// Its client waits for `+` before it sends the literal: the upstream may refuse it instead.
    waits: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Idling {
    #[default]
    No,
    Asked,
    Yes,
}

impl Default for Imap {
    fn default() -> Self {
        Self {
            up: Scanner::of_commands(),
            down: Scanner::of_responses(),
            open: 0,
            idling: Idling::No,
            compress: None,
            sending: None,
            opaque: false,
            goodbye: false,
        }
    }
}

impl Imap {
    pub(super) fn up(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.opaque {
            let (taken, line) = self.up.take(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            if let Some(line) = line {
                self.command_line(&line);
            }
        }
    }

    fn command_line(&mut self, line: &Line) {
        let mut sending = self.sending.take();
        if let Some(head) = &line.head {
            let tag = head.word(0);
            if head.word_is(0, "DONE") && self.idling != Idling::No {
                self.idling = Idling::No;
            } else if !tag.is_empty() {
                self.open = self.open.saturating_add(1);
                self.idling = if head.word_is(1, "IDLE") && self.open == 1 {
                    Idling::Asked
                } else {
                    Idling::No
                };
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

    pub(super) fn down(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.opaque {
            let (taken, line) = self.down.take(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            if let Some(line) = line {
                self.response_line(&line);
            }
        }
    }

    fn response_line(&mut self, line: &Line) {
        let Some(head) = &line.head else {
            return;
        };
        let status = ["OK", "NO", "BAD"].iter().any(|word| head.word_is(1, word));
        match head.word(0) {
            b"*" if head.word_is(1, "BYE") => self.goodbye = true,
            b"*" => {}
            b"+" => {
                if let Some(sending) = &mut self.sending {
                    sending.waits = false;
                }
                if self.idling == Idling::Asked {
                    self.idling = Idling::Yes;
                }
            }
            tag if status => self.answered(tag, head.word_is(1, "OK")),
            _ => {}
        }
    }

    /// A command has its tagged response.
    fn answered(&mut self, tag: &[u8], ok: bool) {
        self.open = self.open.saturating_sub(1);
        self.idling = Idling::No;
        let is = |other: &Option<Vec<u8>>| {
            other
                .as_deref()
                .is_some_and(|other| other.eq_ignore_ascii_case(tag))
        };
        if is(&self.compress) {
            self.compress = None;
            self.opaque = ok;
        }
        // Refused before its literal was sent: the literal will not come.
        let refused = |sending: &Sending| sending.waits && sending.tag.eq_ignore_ascii_case(tag);
        if self.sending.as_ref().is_some_and(refused) {
            self.sending = None;
            self.up.abandon();
        }
    }

    pub(super) fn may_speak(&self) -> bool {
        !self.opaque && self.down.is_at_boundary()
    }

    pub(super) fn is_idle(&self) -> bool {
        let answered = self.open == 0 || (self.open == 1 && self.idling == Idling::Yes);
        self.may_speak() && answered && self.up.is_at_boundary()
    }

    pub(super) fn said_goodbye(&self) -> bool {
        self.goodbye
    }
}
