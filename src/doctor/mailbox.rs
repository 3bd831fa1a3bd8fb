//! First command on the mailbox, since with Exchange a successful login proves little.

use crate::fault::sanitize;
use crate::stream::Stream;
use crate::wire::Protocol;
use crate::wire::line::{Lines, REPLY_CAP};

/// Reason why the command did not succeed.
pub(super) enum Failure {
    /// The mail service refuses, with this reply.
    Refused(String),
    /// The connection failed, or its octets are no reply.
    Broken(String),
}

/// Sends the command and returns the mail service's reply. Changes nothing.
pub(super) async fn ask(
    protocol: Protocol,
    mailbox: &str,
    leftover: &[u8],
    stream: &mut Stream,
) -> Result<String, Failure> {
    let mut talk = LineClient {
        lines: Lines::new(REPLY_CAP),
        stream,
    };
    talk.lines.push(leftover);
    match protocol {
        Protocol::Imap => {
            let (ok, said) = talk.tagged("D1", "SELECT INBOX").await?;
            if ok {
                let _ = talk.tagged("D2", "LOGOUT").await;
                Ok(said)
            } else {
                Err(Failure::Refused(said))
            }
        }
        Protocol::Pop3 => {
            let said = talk.line_after("STAT").await?;
            if said.starts_with("+OK") {
                let _ = talk.line_after("QUIT").await;
                Ok(said)
            } else {
                Err(Failure::Refused(said))
            }
        }
        Protocol::Smtp => {
            let said = talk.reply_after(&format!("MAIL FROM:<{mailbox}>")).await?;
            if !said.starts_with('2') {
                return Err(Failure::Refused(said));
            }
            talk.reply_after("RSET").await?;
            let _ = talk.reply_after("QUIT").await;
            Ok(said)
        }
    }
}

fn broken(why: &str) -> Failure {
    Failure::Broken(why.to_owned())
}

struct LineClient<'s> {
    lines: Lines,
    stream: &'s mut Stream,
}

impl LineClient<'_> {
    async fn say(&mut self, command: &str) -> Result<(), Failure> {
        let line = format!("{command}\r\n");
        let written = self.stream.write(line.as_bytes()).await;
        written.map_err(|error| Failure::Broken(format!("the connection broke: {error}")))
    }

    async fn line(&mut self) -> Result<String, Failure> {
        loop {
            match self.lines.line() {
                Ok(Some(line)) => return Ok(sanitize(&String::from_utf8_lossy(&line))),
                Ok(None) => {}
                Err(_) => return Err(broken("the answer is longer than 64 KiB")),
            }
            let Self { lines, stream } = self;
            match stream.receive(|bytes| lines.push(bytes)).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return Err(broken("the mail service closed the connection")),
            }
        }
    }

    async fn line_after(&mut self, command: &str) -> Result<String, Failure> {
        self.say(command).await?;
        self.line().await
    }

    /// Joins all lines of a reply into one (RFC 5321 §4.2).
    async fn reply_after(&mut self, command: &str) -> Result<String, Failure> {
        self.say(command).await?;
        let mut said = Vec::new();
        loop {
            let line = self.line().await?;
            let more = line.as_bytes().get(3) == Some(&b'-');
            said.push(line);
            if !more || said.len() > 100 {
                return Ok(said.join(" / "));
            }
        }
    }

    /// Returns whether the tagged response is OK, and its text without the tag. A BYE is an error.
    async fn tagged(&mut self, tag: &str, command: &str) -> Result<(bool, String), Failure> {
        self.say(&format!("{tag} {command}")).await?;
        let mut exists = String::new();
        loop {
            let line = self.line().await?;
            if let Some(said) = line.strip_prefix(tag) {
                let said = said.trim();
                let ok = said
                    .get(..2)
                    .is_some_and(|word| word.eq_ignore_ascii_case("OK"));
                return Ok((ok, format!("{exists}{said}")));
            }
            if line.to_ascii_uppercase().starts_with("* BYE") {
                return Err(Failure::Refused(line));
            }
            if line.ends_with("EXISTS") {
                exists = format!("{}; ", line.trim_start_matches("* "));
            }
        }
    }
}
