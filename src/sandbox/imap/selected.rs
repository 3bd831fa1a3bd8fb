//! The session after login: folders, messages, IDLE, and the ways it may end.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::sleep_until;

use super::command::{self, Command, Read, Word, members};
use super::fetch::{self, Item, Part};
use super::{BYE, CAPABILITIES, ID, MORE, note, search};
use crate::sandbox::exchange::Login;
use crate::sandbox::mailbox::Folder;
use crate::sandbox::stream::Conn;
use crate::sandbox::{Fault, Shared, clock};

/// Octets of a literal.
const CAP: usize = 157_286_400;
const UIDVALIDITY: u32 = 14;
const FLAGS: &str = "\\Seen \\Answered \\Flagged \\Deleted \\Draft $MDNSent";

pub(super) struct Session {
    conn: Conn,
    shared: Arc<Shared>,
    login: Login,
    folder: Option<Selected>,
}

struct Selected {
    name: String,
    read_only: bool,
    /// UIDs by sequence number, as the client knows them.
    view: Vec<u32>,
}

/// How a command ended, apart from errors of the connection.
enum End {
    Ok(String),
    No(&'static str),
    /// Arguments that make no sense.
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

    /// Whether the session goes on.
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
            self.news();
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

    async fn in_folder(
        &mut self,
        folder: &Selected,
        verb: &str,
        words: &[Word],
        uid: bool,
    ) -> io::Result<End> {
        if folder.read_only && matches!(verb, "STORE" | "EXPUNGE" | "MOVE") {
            return Ok(No("Mailbox is read-only."));
        }
        if verb == "SEARCH" {
            return Ok(self.search(folder, words, uid));
        }
        let set = words.first().and_then(Word::text);
        let uids = set.and_then(|set| folder.uids(&set, uid));
        match (verb, uids) {
            ("EXPUNGE", uids) => {
                self.remove_deleted(&folder.name, uids.filter(|_| uid).as_deref());
                Ok(End::Ok(String::new()))
            }
            (_, None) => Ok(Bad),
            ("FETCH", Some(uids)) => self.fetch(folder, words, uid, &uids).await,
            ("STORE", Some(uids)) => Ok(self.store(folder, words, uid, &uids)),
            (_, Some(uids)) => Ok(self.copy(folder, words, &uids, verb == "MOVE")),
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

    async fn fetch(
        &mut self,
        folder: &Selected,
        words: &[Word],
        uid: bool,
        uids: &[u32],
    ) -> io::Result<End> {
        let Some(mut items) = words.get(1).and_then(fetch::items) else {
            return Ok(Bad);
        };
        if uid && !items.contains(&Item::Uid) {
            items.insert(0, Item::Uid);
        }
        let reads = items
            .iter()
            .any(|item| matches!(item, Item::Body { peek: false, .. }));
        for (number, wanted) in folder.numbered(uids) {
            let message = self.login.mailbox.with(&folder.name, |folder| {
                let message = folder.message_mut(wanted)?;
                if reads {
                    message.flags.insert("\\Seen".to_owned());
                }
                Some(message.clone())
            });
            let Some(message) = message.flatten() else {
                continue;
            };
            for part in fetch::answer(number, &message, &items) {
                match part {
                    Part::Text(text) => self.conn.put(text),
                    Part::Literal(bytes) if self.shared.fault() == Some(Fault::LostLiteral) => {
                        let half = bytes.slice(..bytes.len() / 2);
                        self.conn.send(&half).await?;
                        self.conn.flush().await?;
                        return Err(io::ErrorKind::ConnectionAborted.into());
                    }
                    Part::Literal(bytes) => self.conn.send(&bytes).await?,
                }
            }
            self.conn.put("\r\n");
        }
        Ok(End::Ok(String::new()))
    }

    fn store(&mut self, folder: &Selected, words: &[Word], uid: bool, uids: &[u32]) -> End {
        let [_, how, rest @ ..] = words else {
            return Bad;
        };
        let how = how.text().unwrap_or_default().to_ascii_uppercase();
        let flags: BTreeSet<String> = match rest {
            [Word::List(flags)] => flags.iter().filter_map(Word::text).collect(),
            flags => flags.iter().filter_map(Word::text).collect(),
        };
        let silent = how.ends_with(".SILENT");
        for (number, wanted) in folder.numbered(uids) {
            let changed = self.login.mailbox.with(&folder.name, |folder| {
                let message = folder.message_mut(wanted)?;
                match how.strip_suffix(".SILENT").unwrap_or(&how) {
                    "+FLAGS" => message.flags.extend(flags.iter().cloned()),
                    "-FLAGS" => message
                        .flags
                        .retain(|flag| !flags.iter().any(|gone| gone.eq_ignore_ascii_case(flag))),
                    "FLAGS" => message.flags.clone_from(&flags),
                    _ => return None,
                }
                Some(fetch::flags(message))
            });
            let Some(shown) = changed.flatten() else {
                return Bad;
            };
            let uid = if uid {
                format!("UID {wanted} ")
            } else {
                String::new()
            };
            if !silent {
                self.conn.say(format!("* {number} FETCH ({uid}{shown})"));
            }
        }
        End::Ok(String::new())
    }

    fn search(&mut self, folder: &Selected, words: &[Word], uid: bool) -> End {
        let mut found = String::new();
        for (number, wanted) in folder.numbered(&folder.view) {
            let matched = self.login.mailbox.with(&folder.name, |content| {
                let Some(message) = content.message(wanted) else {
                    return Some(false);
                };
                search::matches(words, &folder.view, message)
            });
            match matched.flatten() {
                None => return Bad,
                Some(false) => {}
                Some(true) if uid => found.push_str(&format!(" {wanted}")),
                Some(true) => found.push_str(&format!(" {number}")),
            }
        }
        self.conn.say(format!("* SEARCH{found}"));
        End::Ok(String::new())
    }

    fn copy(&mut self, folder: &Selected, words: &[Word], wanted: &[u32], moves: bool) -> End {
        let target = words.get(1).and_then(Word::text);
        let Some(target) = target.and_then(|name| self.login.mailbox.resolve(&name)) else {
            return No("[TRYCREATE] Mailbox does not exist.");
        };
        let mailbox = &self.login.mailbox;
        let copied = mailbox.with(&folder.name, |folder| {
            let messages = wanted
                .iter()
                .filter_map(|&uid| folder.message(uid).cloned());
            messages.collect::<Vec<_>>()
        });
        let copied = copied.unwrap_or_default();
        let (mut from, mut to) = (Vec::new(), Vec::new());
        mailbox.with(&target, |folder| {
            for message in copied {
                from.push(message.uid.to_string());
                to.push(
                    folder
                        .add(message.bytes, message.flags, message.date)
                        .to_string(),
                );
            }
        });
        if moves {
            mailbox.with(&folder.name, |folder| {
                folder
                    .messages
                    .retain(|message| !wanted.contains(&message.uid));
            });
        }
        mailbox.changed();
        if from.is_empty() {
            return End::Ok(String::new());
        }
        End::Ok(format!(
            "COPYUID {UIDVALIDITY} {} {}",
            from.join(","),
            to.join(",")
        ))
    }

    fn remove_deleted(&self, name: &str, only: Option<&[u32]>) {
        self.login.mailbox.with(name, |folder| {
            folder.messages.retain(|message| {
                let meant = only.is_none_or(|only| only.contains(&message.uid));
                !(meant && message.has("\\Deleted"))
            });
        });
        self.login.mailbox.changed();
    }

    /// Tells what has happened to the selected folder.
    fn news(&mut self) {
        let Some(folder) = &mut self.folder else {
            return;
        };
        let now = self.login.mailbox.with(&folder.name, |folder| uids(folder));
        let now = now.unwrap_or_default();
        if now == folder.view {
            return;
        }
        let mut kept = folder.view.len();
        for at in (0..folder.view.len()).rev() {
            let gone = folder
                .view
                .get(at)
                .is_some_and(|uid| now.binary_search(uid).is_err());
            if gone {
                self.conn.say(format!("* {} EXPUNGE", at + 1));
                kept -= 1;
            }
        }
        if now.len() > kept {
            self.conn.say(format!("* {} EXISTS", now.len()));
        }
        folder.view = now;
    }

    /// RFC 2177. Whether the session goes on.
    async fn idle(&mut self) -> io::Result<bool> {
        self.conn.say("+ IDLE accepted, awaiting DONE command.");
        let mut changes = self.login.mailbox.watch();
        let mut fault = self.shared.fault.subscribe();
        let expiry = self.login.expires;
        loop {
            self.news();
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

impl Selected {
    /// The UIDs that a set names, by sequence numbers or by UIDs.
    fn uids(&self, set: &str, uid: bool) -> Option<Vec<u32>> {
        if uid {
            return members(set, &self.view);
        }
        let numbers: Vec<u32> = (1..).zip(&self.view).map(|(number, _)| number).collect();
        let named = members(set, &numbers)?;
        let view = |number: u32| self.view.get(usize::try_from(number).ok()? - 1).copied();
        named.into_iter().map(view).collect()
    }

    /// Sequence numbers and UIDs of those wanted (ascending).
    fn numbered(&self, wanted: &[u32]) -> Vec<(usize, u32)> {
        let numbered = (1..).zip(self.view.iter().copied());
        numbered
            .filter(|(_, uid)| wanted.binary_search(uid).is_ok())
            .collect()
    }
}

fn uids(folder: &Folder) -> Vec<u32> {
    folder.messages.iter().map(|message| message.uid).collect()
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
