//! A mail service's SMTP: a plain reference of the transaction, with a will of its own.

use std::collections::VecDeque;

use super::random::Random;
use super::wire::Wired;

/// A message whose final reply was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Final {
    pub from: String,
    pub to: Vec<String>,
    pub size: u64,
    pub accepted: bool,
}

#[derive(Debug, Default)]
struct Transaction {
    from: String,
    to: Vec<String>,
    size: u64,
    content: Vec<u8>,
    chunks: bool,
    failed: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Command,
    Text,
    Chunk { left: u64, octets: u64, last: bool },
    Over,
}

pub struct Server {
    pub wire: Wired,
    random: Random,
    /// Whether it ever refuses.
    moody: bool,
    input: Vec<u8>,
    state: State,
    transaction: Option<Transaction>,
    /// Octets of the text, which began at a line's beginning.
    text: Vec<u8>,
    replies: VecDeque<Vec<u8>>,
    pub finals: Vec<Final>,
    /// Messages that were accepted, as they came.
    pub accepted: Vec<Vec<u8>>,
    /// Every octet that came.
    pub received: Vec<u8>,
    pub mails: usize,
}

impl Server {
    pub fn new(wire: Wired, moody: bool, random: Random) -> Self {
        Self {
            wire,
            random,
            moody,
            input: Vec::new(),
            state: State::Command,
            transaction: None,
            text: Vec::new(),
            replies: VecDeque::new(),
            finals: Vec::new(),
            accepted: Vec::new(),
            received: Vec::new(),
            mails: 0,
        }
    }

    pub fn has_message_in_flight(&self) -> bool {
        let wire = self.wire.0.borrow();
        let open = self.transaction.as_ref().is_some_and(|now| !now.failed);
        // What the relay has not sent yet may end the message.
        open && self.state != State::Over && !wire.is_closed() && !wire.reset
    }

    fn refuses(&mut self) -> bool {
        self.moody && self.random.once_in(8)
    }

    fn reply(&mut self, text: &str) {
        let long = self.moody && self.random.once_in(6);
        let mut reply = Vec::new();
        if long {
            reply.extend_from_slice(format!("{}-more\r\n", &text[..3]).as_bytes());
        }
        reply.extend_from_slice(format!("{text}\r\n").as_bytes());
        self.replies.push_back(reply);
    }

    /// Takes what came, and says some of what is due.
    pub fn act(&mut self) {
        let came = std::mem::take(&mut self.wire.0.borrow_mut().to_peer);
        self.received.extend_from_slice(&came);
        self.input.extend_from_slice(&came);
        while self.step() {}
        if !self.random.once_in(3) {
            let mut wire = self.wire.0.borrow_mut();
            let due = self.random.below(self.replies.len() + 1);
            for reply in self.replies.drain(..due) {
                wire.to_relay.extend(reply);
            }
        }
        if self.wire.is_closed() && self.input.is_empty() {
            self.say_all();
            self.wire.0.borrow_mut().peer_ended = true;
        }
        if self.state == State::Over && self.replies.is_empty() {
            self.wire.0.borrow_mut().peer_ended = true;
        }
    }

    pub fn say_all(&mut self) {
        let mut wire = self.wire.0.borrow_mut();
        for reply in self.replies.drain(..) {
            wire.to_relay.extend(reply);
        }
    }

    fn step(&mut self) -> bool {
        match self.state {
            State::Over => {
                self.input.clear();
                false
            }
            State::Command => {
                let Some(end) = self.input.iter().position(|octet| *octet == b'\n') else {
                    return false;
                };
                let line: Vec<u8> = self.input.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).into_owned();
                assert!(line.ends_with("\r\n"), "a command without CRLF: {line:?}");
                self.command(line.trim_end());
                true
            }
            State::Text => self.take_text(),
            State::Chunk { left, octets, last } => {
                let taken = left.min(self.input.len() as u64);
                self.text.extend(self.input.drain(..taken as usize));
                if taken < left {
                    let left = left - taken;
                    self.state = State::Chunk { left, octets, last };
                    return false;
                }
                self.state = State::Command;
                self.chunk(octets, last);
                true
            }
        }
    }

    fn take_text(&mut self) -> bool {
        self.text.append(&mut self.input);
        // CRLF.CRLF, where a text begins as if behind CRLF.
        let whole = [b"\r\n", self.text.as_slice()].concat();
        let Some(end) = memchr::memmem::find(&whole, b"\r\n.\r\n") else {
            return false;
        };
        self.input = whole[end + 5..].to_vec();
        let text = &whole[2..(end + 2).max(2)];
        let stuffed = match text.starts_with(b".") {
            true => 1,
            false => 0,
        } + memchr::memmem::find_iter(text, b"\r\n.").count();
        let size = (text.len() - stuffed) as u64;
        let content = text.to_vec();
        self.text.clear();
        self.state = State::Command;
        if let Some(transaction) = &mut self.transaction {
            transaction.size = size;
            transaction.content = content;
        }
        self.decide();
        true
    }

    /// The final reply.
    fn decide(&mut self) {
        let accepted = !self.refuses();
        self.end(accepted);
        self.reply(match accepted {
            true => "250 2.0.0 OK <id>",
            false => "554 5.2.0 refused",
        });
    }

    fn end(&mut self, accepted: bool) {
        if let Some(transaction) = self.transaction.take() {
            if accepted {
                self.accepted.push(transaction.content);
            }
            self.finals.push(Final {
                from: transaction.from,
                to: transaction.to,
                size: transaction.size,
                accepted,
            });
        }
    }

    fn command(&mut self, line: &str) {
        let verb = line
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        let refuses = self.refuses();
        let address = |line: &str| {
            let (_, rest) = line.split_once('<').unwrap_or(("", ">"));
            rest.split('>').next().unwrap_or_default().to_owned()
        };
        match verb.as_str() {
            "MAIL" => {
                self.mails += 1;
                if self.transaction.is_some() {
                    return self.reply("503 5.5.2 nested");
                }
                if refuses {
                    return self.reply("550 5.7.60 no");
                }
                self.transaction = Some(Transaction {
                    from: address(line),
                    ..Transaction::default()
                });
                self.reply("250 2.1.0 Sender OK");
            }
            "RCPT" => match &mut self.transaction {
                None => self.reply("503 5.5.2 Need mail command"),
                Some(_) if refuses => self.reply("550 5.1.1 no"),
                Some(transaction) => {
                    transaction.to.push(address(line));
                    self.reply("250 2.1.5 Recipient OK");
                }
            },
            "DATA" => match &self.transaction {
                Some(transaction) if !transaction.to.is_empty() && !transaction.chunks => {
                    if refuses {
                        let (code, text) = self.random.one_of(&[
                            ("432", "432 4.3.2 Concurrent connections limit exceeded."),
                            ("554", "554 5.7.1 no"),
                            ("421", "451 4.7.0 later"),
                        ]);
                        assert!(!code.is_empty());
                        if let Some(transaction) = &mut self.transaction {
                            transaction.size = 0;
                        }
                        self.end(false);
                        return self.reply(text);
                    }
                    self.state = State::Text;
                    self.replies.push_back(b"354 go\r\n".to_vec());
                }
                _ => self.reply("503 5.5.2 Need rcpt command"),
            },
            "BDAT" => {
                let mut words = line.split(' ').skip(1);
                let octets = words.next().and_then(|word| word.parse().ok());
                let last = words
                    .next()
                    .is_some_and(|word| word.eq_ignore_ascii_case("LAST"));
                match octets {
                    Some(octets) => {
                        self.state = State::Chunk {
                            left: octets,
                            octets,
                            last,
                        };
                    }
                    None => self.reply("501 5.5.4 Invalid arguments"),
                }
            }
            "RSET" => {
                self.transaction = None;
                self.reply("250 2.0.0 Resetting");
            }
            "EHLO" | "HELO" if refuses => self.reply("501 5.5.4 Invalid domain name"),
            "EHLO" | "HELO" => {
                self.transaction = None;
                self.replies
                    .push_back(b"250-hello\r\n250 CHUNKING\r\n".to_vec());
            }
            "NOOP" => self.reply("250 2.0.0 OK"),
            "VRFY" => self.reply("252 2.1.5 Cannot VRFY user"),
            "QUIT" => {
                self.reply("221 2.0.0 bye");
                self.state = State::Over;
            }
            _ => self.reply("500 5.3.3 Unrecognized command"),
        }
    }

    fn chunk(&mut self, octets: u64, last: bool) {
        let refuses = self.refuses();
        let content = std::mem::take(&mut self.text);
        match &mut self.transaction {
            Some(transaction) if !transaction.to.is_empty() && !transaction.failed => {
                transaction.size += octets;
                transaction.content.extend(content);
                transaction.chunks = true;
                if last {
                    return self.decide();
                }
                if refuses {
                    transaction.failed = true;
                    let transaction = Final {
                        from: transaction.from.clone(),
                        to: transaction.to.clone(),
                        size: transaction.size,
                        accepted: false,
                    };
                    self.finals.push(transaction);
                    return self.reply("552 5.3.4 too large");
                }
                self.reply("250 2.6.0 CHUNK received OK");
            }
            _ => self.reply("503 5.5.2 Need rcpt command"),
        }
    }

    /// The service ends the session unasked.
    pub fn die(&mut self, reset: bool) {
        self.say_all();
        let mut wire = self.wire.0.borrow_mut();
        if reset {
            wire.reset = true;
        } else {
            wire.to_relay.extend(*b"421 4.4.2 Connection dropped\r\n");
            wire.peer_ended = true;
        }
        self.state = State::Over;
    }
}
