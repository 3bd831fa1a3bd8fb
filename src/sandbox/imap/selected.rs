//! The session after login: folders, messages, IDLE, and the ways it may end.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::sleep_until;

use super::command::{self, Command, Read, Word};
use super::messages::{Selected, uids};
use super::{BYE, CAPABILITIES, ID, MORE, note};
use crate::sandbox::exchange::Login;
use crate::sandbox::stream::Conn;
use crate::sandbox::{Fault, Shared, clock};

/// Maximum length of a literal after login, in octets.
const CAP: usize = 157_286_400;
pub(super) const UIDVALIDITY: u32 = 14;
const FLAGS: &str = "\\Seen \\Answered \\Flagged \\Deleted \\Draft $MDNSent";

pub(super) struct Session {
    pub(super) conn: Conn,
    pub(super) shared: Arc<Shared>,
    pub(super) login: Login,
    pub(super) folder: Option<Selected>,
}

/// How a command ended, apart from errors of the connection.
pub(super) enum End {
    Ok(String),
    No(&'static str),
    /// Invalid arguments.
    Bad,
    Unknown,
    WrongState,
}

use End::{Bad, No, Unknown, WrongState};

impl Session {
    pub fn new(conn: Conn, shared: Arc<Shared>, login: Login) -> Self {
        Self {
            conn,
            shared,
            login,
            folder: None,
        }
    }

    pub async fn run(mut self) -> io::Result<()> {
        let mut fault = self.shared.fault.subscribe();
        let expiry = self.login.expires;
        loop {
            let line = tokio::select! {
                line = self.conn.line() => line?,
                () = expired(&mut fault) => return self.invalidated().await,
                () = sleep_until(expiry) => return self.invalidated().await,
            };
            if !Box::pin(self.command(line)).await? {
                return self.conn.close().await;
            }
        }
    }

    async fn invalidated(mut self) -> io::Result<()> {
        self.conn
            .say("* BYE Session invalidated - AccessTokenExpired");
        self.conn.close().await
    }

    /// Answers a command. Returns whether the session goes on.
    async fn command(&mut self, line: bytes::Bytes) -> io::Result<bool> {
        let Read::Command(command) = command::read(&mut self.conn, line, CAP).await? else {
            self.conn.say("* BAD Command Error. 10");
            return Ok(true);
        };
        note(&self.shared, &command);
        let Command {
            tag, verb, words, ..
        } = command;
        let harmless = matches!(verb.as_str(), "CAPABILITY" | "ID" | "NOOP" | "LOGOUT");
        if self.shared.fault() == Some(Fault::NotConnected) && !harmless {
            self.conn.say(format!(
                "{tag} BAD User is authenticated but not connected."
            ));
            self.conn.say("* BYE Connection closed. 14");
            return Ok(false);
        }
        if verb == "LOGOUT" {
            self.conn.say(BYE);
            self.conn.say(format!("{tag} OK LOGOUT completed."));
            return Ok(false);
        }
        if verb == "IDLE" {
            if !self.idle().await? {
                return Ok(false);
            }
            self.conn.say(format!("{tag} OK IDLE completed."));
            return Ok(self.shared.fault() != Some(Fault::LostIdle));
        }
        let (verb, words, uid) = match (verb.as_str(), words.split_first()) {
            ("UID", Some((first, rest))) => {
                let verb = first.text().unwrap_or_default().to_ascii_uppercase();
                (verb, rest.to_vec(), true)
            }
            _ => (verb, words, false),
        };
        let end = self.execute(&verb, &words, uid).await?;
        let uid = if uid { "UID " } else { "" };
        // Sequence numbers must not move under FETCH, STORE and SEARCH (RFC 3501 §7.4.1).
        if !matches!(verb.as_str(), "FETCH" | "STORE" | "SEARCH") {
            self.report_changes();
        }
        self.conn.say(match end {
            End::Ok(code) if code.is_empty() => format!("{tag} OK {uid}{verb} completed."),
            End::Ok(code) => format!("{tag} OK [{code}] {uid}{verb} completed."),
            No(why) => format!("{tag} NO {why}"),
            Bad => format!("{tag} BAD Command Argument Error. 12"),
            Unknown => format!("{tag} BAD Command Error. 10"),
            WrongState => format!("{tag} BAD Command received in Invalid state."),
        });
        Ok(self.shared.fault() != Some(Fault::LostIdle))
    }

    async fn execute(&mut self, verb: &str, words: &[Word], uid: bool) -> io::Result<End> {
        let done = || Ok(End::Ok(String::new()));
        match verb {
            "NOOP" | "CHECK" | "ENABLE" | "SUBSCRIBE" | "UNSUBSCRIBE" => done(),
            "CAPABILITY" => {
                let rev2 = if self.shared.fault() == Some(Fault::Frontend2026) {
                    " ENABLE IMAP4rev2"
                } else {
                    ""
                };
                self.conn.say(format!(
                    "* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 {CAPABILITIES}{rev2} \
                     CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE {MORE}"
                ));
                done()
            }
            "ID" => {
                self.conn.say(ID);
                done()
            }
            "NAMESPACE" => {
                self.conn.say("* NAMESPACE ((\"\" \"/\")) NIL NIL");
                done()
            }
            "LIST" | "LSUB" | "XLIST" => Ok(self.list(verb, words)),
            "STATUS" => Ok(self.status(words)),
            "CREATE" | "DELETE" => {
                let Some(name) = words.first().and_then(Word::text) else {
                    return Ok(Bad);
                };
                let mailbox = &self.login.mailbox;
                let changed = match verb {
                    "CREATE" => mailbox.create(&name),
                    _ => mailbox.remove(&name),
                };
                if changed {
                    done()
                } else {
                    Ok(No("Operation failed."))
                }
            }
            "SELECT" | "EXAMINE" => Ok(self.select(words, verb == "EXAMINE")),
            "APPEND" => Ok(self.append(words)),
            "CLOSE" | "UNSELECT" => match self.folder.take() {
                Some(folder) => {
                    if verb == "CLOSE" && !folder.read_only {
                        self.remove_deleted(&folder.name, None);
                    }
                    done()
                }
                None => Ok(WrongState),
            },
            "FETCH" | "STORE" | "SEARCH" | "EXPUNGE" | "COPY" | "MOVE" => {
                let Some(folder) = self.folder.take() else {
                    return Ok(WrongState);
                };
                let end = self.in_folder(&folder, verb, words, uid).await;
                self.folder = Some(folder);
                end
            }
            _ => Ok(Unknown),
        }
    }

    fn list(&mut self, verb: &str, words: &[Word]) -> End {
        let pattern = match words {
            [reference, pattern] => reference.text().zip(pattern.text()),
            _ => None,
        };
        let Some((reference, pattern)) = pattern else {
            return Bad;
        };
        if pattern.is_empty() {
            self.conn
                .say(format!("* {verb} (\\Noselect \\HasNoChildren) \"/\" \"\""));
            return End::Ok(String::new());
        }
        let pattern = reference + &pattern;
        for name in self.login.mailbox.names() {
            if glob(pattern.as_bytes(), name.as_bytes()) {
                let name = if name.contains(' ') {
                    format!("\"{name}\"")
                } else {
                    name
                };
                self.conn
                    .say(format!("* {verb} (\\HasNoChildren) \"/\" {name}"));
            }
        }
        End::Ok(String::new())
    }

    fn status(&mut self, words: &[Word]) -> End {
        let [name, Word::List(items)] = words else {
            return Bad;
        };
        let Some(name) = name
            .text()
            .and_then(|name| self.login.mailbox.resolve(&name))
        else {
            return No("Mailbox does not exist.");
        };
        let counted = self.login.mailbox.with(&name, |folder| {
            let unseen = folder
                .messages
                .iter()
                .filter(|message| !message.has("\\Seen"));
            (folder.messages.len(), folder.uid_next(), unseen.count())
        });
        let (messages, next, unseen) = counted.unwrap_or_default();
        let show = |item: &Word| {
            let item = item.text()?.to_ascii_uppercase();
            let value = match item.as_str() {
                "MESSAGES" => messages.to_string(),
                "UIDNEXT" => next.to_string(),
                "UIDVALIDITY" => UIDVALIDITY.to_string(),
                "UNSEEN" => unseen.to_string(),
                "RECENT" => "0".to_owned(),
                _ => return None,
            };
            Some(format!("{item} {value}"))
        };
        let Some(shown) = items.iter().map(show).collect::<Option<Vec<_>>>() else {
            return Bad;
        };
        self.conn
            .say(format!("* STATUS \"{name}\" ({})", shown.join(" ")));
        End::Ok(String::new())
    }

    fn select(&mut self, words: &[Word], read_only: bool) -> End {
        self.folder = None;
        let Some(name) = words.first().and_then(Word::text) else {
            return Bad;
        };
        let Some(name) = self.login.mailbox.resolve(&name) else {
            return No("Mailbox does not exist.");
        };
        let opened = self.login.mailbox.with(&name, |folder| {
            let first = folder
                .messages
                .iter()
                .position(|message| !message.has("\\Seen"));
            (uids(folder), folder.uid_next(), first)
        });
        let (view, next, unseen) = opened.unwrap_or_default();
        let conn = &mut self.conn;
        conn.say(format!("* {} EXISTS", view.len()));
        conn.say("* 0 RECENT");
        conn.say(format!("* FLAGS ({FLAGS})"));
        let permanent = if read_only { "" } else { FLAGS };
        conn.say(format!(
            "* OK [PERMANENTFLAGS ({permanent})] Permanent flags"
        ));
        if let Some(at) = unseen {
            conn.say(format!(
                "* OK [UNSEEN {}] Is the first unseen message",
                at + 1
            ));
        }
        conn.say(format!(
            "* OK [UIDVALIDITY {UIDVALIDITY}] UIDVALIDITY value"
        ));
        conn.say(format!(
            "* OK [UIDNEXT {next}] The next unique identifier value"
        ));
        self.folder = Some(Selected {
            name,
            read_only,
            view,
        });
        End::Ok(if read_only { "READ-ONLY" } else { "READ-WRITE" }.to_owned())
    }

    fn append(&mut self, words: &[Word]) -> End {
        let (Some(name), Some(Word::Text(bytes))) =
            (words.first().and_then(Word::text), words.last())
        else {
            return Bad;
        };
        if words.len() < 2 {
            return Bad;
        }
        let flags = words.iter().find_map(|word| match word {
            Word::List(flags) => Some(flags.iter().filter_map(Word::text).collect()),
            _ => None,
        });
        let Some(name) = self.login.mailbox.resolve(&name) else {
            return No("[TRYCREATE] Mailbox does not exist.");
        };
        let added = self.login.mailbox.with(&name, |folder| {
            folder.add(bytes.clone(), flags.unwrap_or_default(), clock::now())
        });
        self.login.mailbox.changed();
        End::Ok(format!(
            "APPENDUID {UIDVALIDITY} {}",
            added.unwrap_or_default()
        ))
    }

    /// IDLE (RFC 2177). Returns whether the session goes on.
    async fn idle(&mut self) -> io::Result<bool> {
        self.conn.say("+ IDLE accepted, awaiting DONE command.");
        let mut changes = self.login.mailbox.watch();
        let mut fault = self.shared.fault.subscribe();
        let expiry = self.login.expires;
        loop {
            self.report_changes();
            tokio::select! {
                line = self.conn.line() => {
                    return Ok(line?.eq_ignore_ascii_case(b"DONE"));
                }
                _ = changes.changed() => {}
                () = expired(&mut fault) => break,
                () = sleep_until(expiry) => break,
            }
        }
        self.conn
            .say("* BYE Session invalidated - AccessTokenExpired");
        Ok(false)
    }
}

/// Returns when sessions are to end as if their token had expired.
async fn expired(fault: &mut watch::Receiver<Option<Fault>>) {
    let ends = |fault: &Option<Fault>| *fault == Some(Fault::ExpiredSession);
    if fault.wait_for(ends).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// LIST's wildcards; there are no hierarchies here, so that `%` is `*`.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*' | b'%', rest)) => {
            (0..=name.len()).any(|skip| name.get(skip..).is_some_and(|name| glob(rest, name)))
        }
        Some((byte, rest)) => name
            .split_first()
            .is_some_and(|(first, name)| first.eq_ignore_ascii_case(byte) && glob(rest, name)),
    }
}
