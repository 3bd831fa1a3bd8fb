//! Exchange's POP3: XOAUTH2 in two steps only, then the INBOX as it was at login.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;

use super::exchange::{CHALLENGE, Login, Outcome, SERVER, judge, shown, split_verb};
use super::seen::Service;
use super::stream::Conn;
use super::{Fault, Shared};

const REFUSED: &str = "-ERR Authentication failure: unknown user name or bad password.";

pub(super) async fn serve(mut conn: Conn, shared: Arc<Shared>) -> io::Result<()> {
    conn.say(format!(
        "+OK The Microsoft Exchange POP3 service is ready. [{SERVER}]"
    ));
    let Some((conn, login)) = Box::pin(authenticate(conn, &shared)).await? else {
        return Ok(());
    };
    Session::new(conn, shared, login).run().await
}

async fn authenticate(mut conn: Conn, shared: &Arc<Shared>) -> io::Result<Option<(Conn, Login)>> {
    loop {
        let line = conn.line().await?;
        let (verb, rest) = split_verb(&line);
        let fault = shared.fault();
        let starttls = !conn.is_tls() && fault != Some(Fault::StarttlsMissing);
        if verb == "PASS" {
            shared.log.command(Service::Pop3, "PASS …");
        } else {
            shared
                .log
                .command(Service::Pop3, &String::from_utf8_lossy(&line));
        }
        match verb.as_str() {
            "CAPA" => capabilities(&mut conn, starttls),
            "STLS" if starttls && fault == Some(Fault::StarttlsRefused) => {
                conn.say("-ERR TLS is not available.");
            }
            "STLS" if starttls => {
                conn.say("+OK Begin TLS negotiation.");
                if fault == Some(Fault::StarttlsInjected) {
                    conn.say("+OK User successfully logged on.");
                }
                conn.flush().await?;
                conn = conn.starttls().await?;
            }
            "AUTH" if conn.is_tls() && rest.eq_ignore_ascii_case(b"XOAUTH2") => {
                conn.say("+ ");
                let payload = conn.line().await?;
                shared.log.command(Service::Pop3, &shown(&payload));
                match judge(shared, Service::Pop3, &payload).await? {
                    Outcome::Accepted(login) => {
                        conn.say("+OK User successfully authenticated.");
                        return Ok(Some((conn, login)));
                    }
                    Outcome::Challenged => {
                        conn.say(format!("+ {CHALLENGE}"));
                        conn.line().await?;
                        conn.tarpit().await?;
                        conn.say(REFUSED);
                    }
                    Outcome::Throttled => {
                        conn.say("-ERR [SYS/TEMP] Request is throttled. Suggested Backoff Time: 299961 milliseconds");
                    }
                    Outcome::Bye => {
                        conn.say("-ERR Connection is closed. 24");
                        conn.close().await?;
                        return Ok(None);
                    }
                    Outcome::Refused | Outcome::Policy(_) | Outcome::Reply(_) => {
                        conn.tarpit().await?;
                        conn.say(REFUSED);
                    }
                }
            }
            "AUTH" if conn.is_tls() && rest.is_empty() => {
                conn.say("+OK");
                conn.say("XOAUTH2");
                conn.say(".");
            }
            "AUTH" if conn.is_tls() => {
                // Also the one-line form with an initial response.
                conn.say("-ERR Protocol error. Connection is closed. 10");
                conn.close().await?;
                return Ok(None);
            }
            "USER" => conn.say("+OK"),
            "PASS" => {
                conn.tarpit().await?;
                conn.say("-ERR Logon failure: unknown user name or bad password.");
            }
            "QUIT" => {
                conn.say("+OK Microsoft Exchange Server 2016 POP3 server signing off.");
                conn.close().await?;
                return Ok(None);
            }
            _ => conn.say("-ERR Protocol error. 14"),
        }
    }
}

fn capabilities(conn: &mut Conn, starttls: bool) {
    conn.say("+OK");
    conn.say("TOP");
    conn.say("UIDL");
    if starttls {
        conn.say("STLS");
    }
    if conn.is_tls() {
        conn.say("SASL PLAIN XOAUTH2");
        conn.say("USER");
    }
    conn.say(".");
}

struct Entry {
    uid: u32,
    bytes: Bytes,
    deleted: bool,
}

struct Session {
    conn: Conn,
    shared: Arc<Shared>,
    login: Login,
    entries: Vec<Entry>,
}

impl Session {
    fn new(conn: Conn, shared: Arc<Shared>, login: Login) -> Self {
        let messages = login.mailbox.messages();
        let entries = messages.into_iter().map(|message| Entry {
            uid: message.uid,
            bytes: message.bytes,
            deleted: false,
        });
        Self {
            conn,
            shared,
            entries: entries.collect(),
            login,
        }
    }

    async fn run(mut self) -> io::Result<()> {
        loop {
            let line = self.conn.line().await?;
            let text = String::from_utf8_lossy(&line).into_owned();
            self.shared.log.command(Service::Pop3, &text);
            if self.shared.fault() == Some(Fault::NotConnected) {
                self.conn
                    .say("-ERR User is authenticated but not connected.");
                return self.conn.close().await;
            }
            let quit = text.trim().eq_ignore_ascii_case("QUIT");
            if quit {
                self.remove_deleted();
                self.conn
                    .say("+OK Microsoft Exchange Server 2016 POP3 server signing off.");
            } else if Box::pin(self.execute(&text)).await?.is_none() {
                self.conn.say("-ERR Command is not valid. 11");
            }
            if quit || self.shared.fault() == Some(Fault::LostIdle) {
                return self.conn.close().await;
            }
        }
    }

    /// Answers a command; `None` for an invalid one.
    async fn execute(&mut self, text: &str) -> io::Result<Option<()>> {
        let mut words = text.split_ascii_whitespace();
        let verb = words.next().unwrap_or_default().to_ascii_uppercase();
        let argument = words.next();
        match verb.as_str() {
            "CAPA" => capabilities(&mut self.conn, false),
            "NOOP" => self.conn.say("+OK"),
            "STAT" => {
                let (count, size) = self.alive().fold((0, 0), |(count, size), (_, entry)| {
                    (count + 1, size + entry.bytes.len())
                });
                self.conn.say(format!("+OK {count} {size}"));
            }
            "LIST" => return Ok(self.list(argument, |entry| entry.bytes.len().to_string())),
            "UIDL" => return Ok(self.list(argument, |entry| format!("14-{}", entry.uid))),
            "RETR" | "TOP" => {
                let Some(bytes) = self.find(argument).map(|entry| entry.bytes.clone()) else {
                    return Ok(None);
                };
                let lines = words.next().and_then(|lines| lines.parse::<usize>().ok());
                if verb == "TOP" && lines.is_none() {
                    return Ok(None);
                }
                let bytes = lines
                    .filter(|_| verb == "TOP")
                    .map_or(bytes.clone(), |lines| {
                        bytes.slice(..top_length(&bytes, lines))
                    });
                self.conn.say("+OK");
                self.body(&bytes).await?;
            }
            "DELE" => match self.find(argument) {
                Some(entry) => {
                    entry.deleted = true;
                    self.conn.say("+OK");
                }
                None => return Ok(None),
            },
            "RSET" => {
                for entry in &mut self.entries {
                    entry.deleted = false;
                }
                self.conn.say("+OK");
            }
            _ => return Ok(None),
        }
        Ok(Some(()))
    }

    fn alive(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let numbered = self.entries.iter().enumerate();
        numbered
            .filter(|(_, entry)| !entry.deleted)
            .map(|(at, entry)| (at + 1, entry))
    }

    fn find(&mut self, number: Option<&str>) -> Option<&mut Entry> {
        let at = number?.parse::<usize>().ok()?.checked_sub(1)?;
        self.entries.get_mut(at).filter(|entry| !entry.deleted)
    }

    fn list(&mut self, number: Option<&str>, show: impl Fn(&Entry) -> String) -> Option<()> {
        if let Some(number) = number {
            let shown = self.find(Some(number)).map(|entry| show(entry))?;
            self.conn.say(format!("+OK {number} {shown}"));
            return Some(());
        }
        let lines: String = self
            .alive()
            .map(|(number, entry)| format!("{number} {}\r\n", show(entry)))
            .collect();
        self.conn.say("+OK");
        self.conn.put(lines);
        self.conn.say(".");
        Some(())
    }

    /// The message with its leading dots doubled, and the dot that ends it.
    async fn body(&mut self, bytes: &Bytes) -> io::Result<()> {
        if self.shared.fault() == Some(Fault::LostLiteral) {
            self.conn
                .send(bytes.get(..bytes.len() / 2).unwrap_or_default())
                .await?;
            self.conn.flush().await?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if bytes.first() == Some(&b'.') {
            self.conn.put(".");
        }
        let mut from = 0;
        for at in memmem::find_iter(bytes, b"\r\n.") {
            self.conn
                .send(bytes.get(from..at + 2).unwrap_or_default())
                .await?;
            self.conn.put(".");
            from = at + 2;
        }
        self.conn
            .send(bytes.get(from..).unwrap_or_default())
            .await?;
        if !bytes.is_empty() && !bytes.ends_with(b"\r\n") {
            self.conn.put("\r\n");
        }
        self.conn.say(".");
        Ok(())
    }

    fn remove_deleted(&mut self) {
        let deleted: Vec<u32> = self
            .entries
            .iter()
            .filter(|entry| entry.deleted)
            .map(|entry| entry.uid)
            .collect();
        if !deleted.is_empty() {
            self.login.mailbox.with("INBOX", |inbox| {
                inbox
                    .messages
                    .retain(|message| !deleted.contains(&message.uid));
            });
            self.login.mailbox.changed();
        }
    }
}

/// Octets of the header and the first `lines` lines of the body.
fn top_length(bytes: &[u8], lines: usize) -> usize {
    let header = memmem::find(bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let body = bytes.get(header..).unwrap_or_default();
    let Some(last) = lines.checked_sub(1) else {
        return header;
    };
    memchr::memchr_iter(b'\n', body)
        .nth(last)
        .map_or(bytes.len(), |at| header + at + 1)
}
