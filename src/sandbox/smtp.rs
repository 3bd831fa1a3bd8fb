//! Exchange's client submission: ESMTP behind STARTTLS, XOAUTH2, DATA and BDAT.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::exchange::{CHALLENGE, Login, Outcome, judge, shown, split_verb};
use super::mailbox::Mailbox;
use super::seen::Service;
use super::sending::{InFlight, Sending, denied, foreign};
use super::stream::Conn;
use super::{Fault, Shared, clock, tokens};

pub(super) const HOST: &str = "SBXP282CA0097.outlook.office365.com";
/// Exchange's capabilities.
const SIZE: usize = 157_286_400;
/// Maximum length of the AUTH command, CRLF included (RFC 4954 §4).
const AUTH_LINE: usize = 512;

pub(super) async fn serve(conn: Conn, shared: Arc<Shared>) -> io::Result<()> {
    let session = Session {
        id: tokens::random_text(16)?.to_ascii_uppercase(),
        conn,
        shared,
        login: None,
        sending: None,
        greeted: false,
        sender: None,
        in_flight: None,
        recipients: Vec::new(),
        chunks: BytesMut::new(),
    };
    session.run().await
}

struct Session {
    conn: Conn,
    shared: Arc<Shared>,
    id: String,
    login: Option<Login>,
    sending: Option<Sending>,
    greeted: bool,
    sender: Option<String>,
    in_flight: Option<InFlight>,
    recipients: Vec<String>,
    /// Chunks received so far.
    chunks: BytesMut,
}

impl Session {
    async fn run(mut self) -> io::Result<()> {
        let date = clock::mail(clock::now());
        self.conn.say(format!(
            "220 {HOST} Microsoft ESMTP MAIL Service ready at {date} [{}]",
            self.id
        ));
        loop {
            let line = self.conn.line().await?;
            let (verb, rest) = split_verb(&line);
            if verb != "AUTH" {
                let text = String::from_utf8_lossy(&line);
                self.shared.log.command(Service::Smtp, &text);
            }
            if verb == "STARTTLS" && self.starttls_possible() {
                self = Box::pin(self.starttls()).await?;
                continue;
            }
            let logged_in = self.login.is_some();
            let goes_on = Box::pin(self.execute(&verb, rest, line.len())).await?;
            let lost = logged_in && self.shared.fault() == Some(Fault::LostIdle);
            if !goes_on || lost {
                return self.conn.close().await;
            }
        }
    }

    fn starttls_possible(&self) -> bool {
        !self.conn.is_tls() && self.shared.fault() != Some(Fault::StarttlsMissing)
    }

    async fn starttls(mut self) -> io::Result<Self> {
        if self.shared.fault() == Some(Fault::StarttlsRefused) {
            self.conn
                .say("454 4.7.0 TLS not available due to temporary reason");
            return Ok(self);
        }
        self.conn.say("220 2.0.0 SMTP server ready");
        if self.shared.fault() == Some(Fault::StarttlsInjected) {
            self.conn.say("235 2.7.0 Authentication successful");
        }
        self.conn.flush().await?;
        let conn = self.conn.starttls().await?;
        Ok(Self {
            conn,
            greeted: false,
            sender: None,
            in_flight: None,
            recipients: Vec::new(),
            chunks: BytesMut::new(),
            ..self
        })
    }

    /// Answers a command. Returns whether the session goes on.
    async fn execute(&mut self, verb: &str, rest: &[u8], length: usize) -> io::Result<bool> {
        match verb {
            "EHLO" | "HELO" => self.hello(verb == "EHLO"),
            "NOOP" => self.conn.say("250 2.0.0 OK"),
            "RSET" => {
                self.reset();
                self.conn.say("250 2.0.0 Resetting");
            }
            "VRFY" => self
                .conn
                .say("252 2.1.5 Cannot VRFY user"),
            "QUIT" => {
                self.conn
                    .say("221 2.0.0 Service closing transmission channel");
                return Ok(false);
            }
            "AUTH" => return self.auth(rest, length).await,
            "MAIL" | "RCPT" | "DATA" | "BDAT" if !self.conn.is_tls() => self
                .conn
                .say("530 5.7.57 Client not authenticated to send mail. Error: Must issue a STARTTLS command first"),
            "MAIL" | "RCPT" | "DATA" | "BDAT" if self.login.is_none() => {
                self.conn.say(format!(
                    "530 5.7.57 Client not authenticated to send mail. {}",
                    self.place()
                ));
            }
            "MAIL" => self.mail(rest),
            "RCPT" => self.recipient(rest),
            "DATA" => return self.data().await,
            "BDAT" => return self.bdat(rest).await,
            _ => {
                self.conn.tarpit().await?;
                let verb: String = verb.chars().take(40).collect();
                self.conn.say(format!(
                    "500 5.3.3 Unrecognized command '{verb}' {}",
                    self.place()
                ));
            }
        }
        Ok(true)
    }

    fn hello(&mut self, extended: bool) {
        self.greeted = true;
        self.reset();
        let peer = self.conn.peer();
        if !extended {
            self.conn.say(format!("250 {HOST} Hello [{peer}]"));
            return;
        }
        self.conn.say(format!("250-{HOST} Hello [{peer}]"));
        self.conn.say(format!("250-SIZE {SIZE}"));
        self.conn
            .put("250-PIPELINING\r\n250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n");
        if self.conn.is_tls() {
            self.conn.say("250-AUTH LOGIN XOAUTH2");
        } else if self.starttls_possible() {
            self.conn.say("250-STARTTLS");
        }
        self.conn
            .put("250-8BITMIME\r\n250-BINARYMIME\r\n250-CHUNKING\r\n250 SMTPUTF8\r\n");
    }

    async fn auth(&mut self, rest: &[u8], length: usize) -> io::Result<bool> {
        let (mechanism, initial) = split_verb(rest);
        let noted = if initial.is_empty() {
            format!("AUTH {mechanism}")
        } else {
            format!("AUTH {mechanism} {}", shown(initial))
        };
        self.shared.log.command(Service::Smtp, &noted);
        if !self.conn.is_tls() {
            self.conn
                .say("530 5.7.0 Must issue a STARTTLS command first");
        } else if !self.greeted {
            self.conn.say("503 5.5.2 Send hello first");
        } else if self.login.is_some() {
            self.conn.say("503 5.5.2 Already authenticated");
        } else if self.sender.is_some() {
            self.conn.say("503 5.5.2 Bad sequence of commands");
        } else if length + 2 > AUTH_LINE {
            self.conn.say("500 5.5.2 Line too long");
        } else if mechanism == "XOAUTH2" {
            let payload = if initial.is_empty() {
                self.conn.say("334 ");
                let payload = self.conn.line().await?;
                self.shared.log.command(Service::Smtp, &shown(&payload));
                payload
            } else {
                Bytes::copy_from_slice(initial)
            };
            return self.xoauth2(&payload).await;
        } else if mechanism == "LOGIN" {
            return self.login().await;
        } else {
            self.conn.say("504 5.7.4 Unrecognized authentication type");
        }
        Ok(true)
    }

    async fn xoauth2(&mut self, payload: &[u8]) -> io::Result<bool> {
        let refusal = format!("535 5.7.3 Authentication unsuccessful {}", self.place());
        match judge(&self.shared, Service::Smtp, payload).await? {
            Outcome::Accepted(login) => {
                self.login = Some(login);
                self.conn.say("235 2.7.0 Authentication successful");
            }
            Outcome::Challenged => {
                self.conn.say(format!("334 {CHALLENGE}"));
                self.conn.line().await?;
                self.conn.tarpit().await?;
                self.conn.say(refusal);
            }
            Outcome::Throttled => self.conn.say(format!(
                "451 4.7.0 Temporary server error. Please try again later. PRX4 {}",
                self.place()
            )),
            Outcome::Bye => {
                self.conn.say("421 4.3.2 Service not active");
                return Ok(false);
            }
            Outcome::Policy(why) => {
                self.conn.tarpit().await?;
                self.conn.say(format!(
                    "535 5.7.139 Authentication unsuccessful, {why} {}",
                    self.place()
                ));
            }
            Outcome::Reply(reply) => {
                self.conn.tarpit().await?;
                self.conn.say(reply);
            }
            Outcome::Refused => {
                self.conn.tarpit().await?;
                self.conn.say(refusal);
            }
        }
        Ok(true)
    }

    /// AUTH LOGIN, which is advertised and always refused.
    async fn login(&mut self) -> io::Result<bool> {
        for question in ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"] {
            self.conn.say(question);
            self.conn.line().await?;
        }
        self.conn.tarpit().await?;
        self.conn.say(format!(
            "535 5.7.139 Authentication unsuccessful, basic authentication is disabled. {}",
            self.place()
        ));
        Ok(true)
    }

    fn mail(&mut self, rest: &[u8]) {
        let (Some(sender), parameters) = path(rest, b"FROM:") else {
            self.conn.say("501 5.5.4 Invalid arguments");
            return;
        };
        let size = parameters.split_ascii_whitespace().find_map(|word| {
            word.to_ascii_uppercase()
                .strip_prefix("SIZE=")?
                .parse()
                .ok()
        });
        if !self.greeted || self.sender.is_some() {
            self.conn.say("503 5.5.2 Bad sequence of commands");
        } else if size > Some(SIZE) {
            self.conn
                .say("552 5.3.4 Message size exceeds fixed maximum message size");
        } else {
            self.sender = Some(sender);
            self.in_flight = Some(InFlight::begin(&self.shared));
            self.conn.say("250 2.1.0 Sender OK");
        }
    }

    fn recipient(&mut self, rest: &[u8]) {
        let (Some(recipient), _) = path(rest, b"TO:") else {
            self.conn.say("501 5.5.4 Invalid arguments");
            return;
        };
        if self.sender.is_none() {
            self.conn.say("503 5.5.2 Need mail command");
        } else if self.shared.fault() == Some(Fault::RecipientRefused) {
            self.conn.say(format!(
                "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient {recipient} not found by SMTP address lookup"
            ));
        } else if self.shared.fault() == Some(Fault::HveExternal) {
            self.conn.say(
                "550 5.5.105 External sending is not supported for High Volume Email accounts.",
            );
        } else {
            self.recipients.push(recipient);
            self.conn.say("250 2.1.5 Recipient OK");
        }
    }

    async fn data(&mut self) -> io::Result<bool> {
        if self.recipients.is_empty() || !self.chunks.is_empty() {
            self.conn.say("503 5.5.2 Need rcpt command");
            return Ok(true);
        }
        if !self.may_send() {
            self.too_many();
            return Ok(true);
        }
        self.conn
            .say("354 Start mail input; end with <CRLF>.<CRLF>");
        if self.shared.fault() == Some(Fault::LostLiteral) {
            self.conn.flush().await?;
            self.conn.some().await?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let message = unstuffed(self.conn.message().await?);
        self.accept(message).await
    }

    /// `BDAT size [LAST]` (RFC 3030), directly followed by `size` octets.
    async fn bdat(&mut self, rest: &[u8]) -> io::Result<bool> {
        let text = String::from_utf8_lossy(rest);
        let mut words = text.split_ascii_whitespace();
        let size = words.next().and_then(|size| size.parse::<usize>().ok());
        let last = words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("LAST"));
        let Some(size) = size.filter(|size| self.chunks.len() + size <= SIZE) else {
            // Where the next command begins is unknown.
            self.conn.say("501 5.5.4 Invalid arguments");
            return Ok(false);
        };
        let chunk = self.conn.exactly(size).await?;
        if self.recipients.is_empty() {
            self.conn.say("503 5.5.2 Need rcpt command");
        } else if !self.may_send() {
            self.too_many();
        } else if !last {
            self.chunks.extend_from_slice(&chunk);
            self.conn
                .say(format!("250 2.6.0 CHUNK received OK, {size} octets"));
        } else if self.chunks.is_empty() {
            return self.accept(chunk).await;
        } else {
            self.chunks.extend_from_slice(&chunk);
            let message = self.chunks.split().freeze();
            return self.accept(message).await;
        }
        Ok(true)
    }

    /// Final reply to a complete message.
    async fn accept(&mut self, message: Bytes) -> io::Result<bool> {
        let recipients = std::mem::take(&mut self.recipients);
        let sender = self.sender.take().unwrap_or_default();
        // It is in flight until its final reply.
        let _in_flight = (self.in_flight.take(), self.sending.take());
        self.reset();
        let Some(login) = &self.login else {
            return Ok(false);
        };
        let user = &login.user;
        if message.len() > SIZE {
            self.conn
                .say("552 5.3.4 Message size exceeds fixed maximum message size");
            return Ok(true);
        }
        let foreign = foreign(user, &sender, &message);
        match self.shared.fault() {
            Some(Fault::SendAsDenied) => self.conn.say(denied(user, &sender)),
            Some(Fault::SmtpQuota) => self.conn.say(
                "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; \
                 Failed to process message due to a permanent exception",
            ),
            _ if foreign.is_some() => {
                let other = foreign.unwrap_or_default();
                self.conn.say(denied(user, &other));
            }
            _ => {
                if let Some(limit) = self.shared.options.smtp_messages {
                    tokio::time::sleep_until(login.mailbox.turn(limit)).await;
                }
                let id = tokens::random_text(20)?;
                let mut mailboxes: Vec<Arc<Mailbox>> = vec![login.mailbox.clone()];
                for recipient in &recipients {
                    if let Some(mailbox) = self.shared.mailbox(recipient)
                        && !mailboxes.iter().any(|known| Arc::ptr_eq(known, &mailbox))
                    {
                        mailboxes.push(mailbox);
                    }
                }
                for mailbox in mailboxes {
                    mailbox.deliver(message.clone());
                }
                self.conn.say(format!(
                    "250 2.0.0 OK <{id}@contoso.test> [Hostname=SBXP282MB0097.AUSP282.prod.outlook.com]"
                ));
            }
        }
        Ok(true)
    }

    /// Begins a message, if the mailbox's limit of messages in flight allows it.
    fn may_send(&mut self) -> bool {
        if self.shared.fault() == Some(Fault::SmtpConcurrency) {
            return false;
        }
        if self.sending.is_none()
            && let (Some(limit), Some(login)) = (self.shared.options.smtp_connections, &self.login)
        {
            self.sending = Sending::begin(&login.mailbox, limit);
            return self.sending.is_some();
        }
        true
    }

    fn too_many(&mut self) {
        self.reset();
        self.conn.say(format!(
            "432 4.3.2 Concurrent connections limit exceeded. \
             Visit https://aka.ms/concurrent_sending for more information. [Hostname={HOST}]"
        ));
    }

    fn reset(&mut self) {
        self.sender = None;
        self.in_flight = None;
        self.sending = None;
        self.recipients.clear();
        self.chunks = BytesMut::new();
    }

    /// `[host time id]`, which ends Exchange's refusals.
    fn place(&self) -> String {
        let time = clock::exchange(clock::now());
        format!("[{HOST} {time} {}]", self.id)
    }
}

/// The address in `FROM:<…>` or `TO:<…>`, and the parameters behind it.
fn path(rest: &[u8], keyword: &[u8]) -> (Option<String>, String) {
    let Some((word, rest)) = rest.split_at_checked(keyword.len()) else {
        return (None, String::new());
    };
    let text = String::from_utf8_lossy(rest).into_owned();
    let inner = text
        .trim_start()
        .strip_prefix('<')
        .and_then(|text| text.split_once('>'));
    match inner {
        Some((address, parameters)) if word.eq_ignore_ascii_case(keyword) => {
            (Some(address.to_owned()), parameters.to_owned())
        }
        _ => (None, String::new()),
    }
}

/// Takes away the dots that transparency added (RFC 5321 §4.5.2); copies only if there are any.
fn unstuffed(message: Bytes) -> Bytes {
    let message = match message.first() {
        Some(b'.') => message.slice(1..),
        _ => message,
    };
    let mut dots = memmem::find_iter(&message, b"\r\n.").peekable();
    if dots.peek().is_none() {
        drop(dots);
        return message;
    }
    let mut plain = BytesMut::with_capacity(message.len());
    let mut from = 0;
    for at in dots {
        plain.extend_from_slice(message.get(from..at + 2).unwrap_or_default());
        from = at + 3;
    }
    plain.extend_from_slice(message.get(from..).unwrap_or_default());
    plain.freeze()
}
