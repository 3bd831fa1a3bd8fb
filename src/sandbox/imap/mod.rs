//! Exchange's IMAP: the dialogue before login, and the session after it.

mod command;
mod fetch;
mod messages;
mod search;
mod selected;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::exchange::{CHALLENGE, Login, Outcome, SERVER, judge, shown};
use super::seen::Service;
use super::stream::Conn;
use super::{Fault, Shared};
use command::{Command, Read, Word};
use selected::Session;

const CAPABILITIES: &str = "SASL-IR UIDPLUS MOVE ID UNSELECT";
const MORE: &str = "CHILDREN IDLE NAMESPACE LITERAL+";
const ID: &str = "* ID (\"name\" \"Microsoft.Exchange.Imap4.Imap4Server\" \"version\" \"15.20\")";
const BYE: &str = "* BYE Microsoft Exchange Server IMAP4 server signing off.";
/// Maximum length of a literal before login, in octets.
const CAP: usize = 16 * 1024;

pub(super) async fn serve(mut conn: Conn, shared: Arc<Shared>) -> io::Result<()> {
    conn.say(match shared.fault() {
        Some(Fault::Preauth) => {
            format!("* PREAUTH The Microsoft Exchange IMAP4 service is ready. [{SERVER}]")
        }
        Some(Fault::Frontend2026) => format!(
            "* OK Microsoft Exchange IMAP4 service ready. 7f9c1c9e-5a0b-4c8f-8a53-3f9a2d1f0c11 \
             (tcpproxy/15.21.0406.000 BACKENDAUTHENTICATE) [{SERVER}]"
        ),
        _ => format!("* OK The Microsoft Exchange IMAP4 service is ready. [{SERVER}]"),
    });
    match Box::pin(authenticate(conn, &shared)).await? {
        Some((conn, login)) => Session::new(conn, shared, login).run().await,
        None => Ok(()),
    }
}

async fn authenticate(mut conn: Conn, shared: &Arc<Shared>) -> io::Result<Option<(Conn, Login)>> {
    loop {
        let line = conn.line().await?;
        let Read::Command(command) = command::read(&mut conn, line, CAP).await? else {
            conn.say("* BAD Command Error. 10");
            continue;
        };
        let Command {
            tag, verb, words, ..
        } = &command;
        note(shared, &command);
        let fault = shared.fault();
        let starttls = !conn.is_tls() && fault != Some(Fault::StarttlsMissing);
        match verb.as_str() {
            "CAPABILITY" => {
                let login = if fault == Some(Fault::Frontend2026) || !conn.is_tls() {
                    "LOGINDISABLED"
                } else {
                    "AUTH=PLAIN LOGINDISABLED"
                };
                let tls = if starttls { " STARTTLS" } else { "" };
                let auth = if conn.is_tls() { " AUTH=XOAUTH2" } else { "" };
                conn.say(format!(
                    "* CAPABILITY IMAP4 IMAP4rev1{auth} {login}{tls} {CAPABILITIES} {MORE}"
                ));
                conn.say(format!("{tag} OK CAPABILITY completed."));
            }
            "NOOP" => conn.say(format!("{tag} OK NOOP completed.")),
            "ID" => {
                conn.say(ID);
                conn.say(format!("{tag} OK ID completed"));
            }
            "STARTTLS" if starttls && fault == Some(Fault::StarttlsRefused) => {
                conn.say(format!("{tag} NO STARTTLS failed."));
            }
            "STARTTLS" if starttls => {
                conn.say(format!("{tag} OK Begin TLS negotiation now."));
                if fault == Some(Fault::StarttlsInjected) {
                    conn.say("* CAPABILITY IMAP4rev1 AUTH=PLAIN");
                }
                conn.flush().await?;
                conn = conn.starttls().await?;
            }
            "LOGIN" => {
                conn.tarpit().await?;
                conn.say(format!("{tag} NO Basic authentication is disabled."));
            }
            "AUTHENTICATE" if conn.is_tls() && mechanism(words) == "XOAUTH2" => {
                let payload = match words.get(1).and_then(Word::text) {
                    Some(initial) => Bytes::from(initial),
                    None => {
                        conn.say("+");
                        let payload = conn.line().await?;
                        shared.log.command(Service::Imap, &shown(&payload));
                        payload
                    }
                };
                match judge(shared, Service::Imap, &payload).await? {
                    Outcome::Accepted(login) => {
                        conn.say(format!("{tag} OK AUTHENTICATE completed."));
                        return Ok(Some((conn, login)));
                    }
                    Outcome::Challenged => {
                        conn.say(format!("+ {CHALLENGE}"));
                        conn.line().await?;
                        conn.tarpit().await?;
                        conn.say(format!("{tag} NO AUTHENTICATE failed."));
                    }
                    Outcome::Throttled => conn.say(format!(
                        "{tag} NO Request is throttled. Suggested Backoff Time: 299961 milliseconds"
                    )),
                    Outcome::Bye => {
                        conn.say("* BYE Connection is closed. 13");
                        conn.close().await?;
                        return Ok(None);
                    }
                    Outcome::Refused | Outcome::Policy(_) | Outcome::Reply(_) => {
                        conn.tarpit().await?;
                        conn.say(format!("{tag} NO AUTHENTICATE failed."));
                    }
                }
            }
            "AUTHENTICATE" => {
                conn.tarpit().await?;
                conn.say(format!("{tag} NO AUTHENTICATE failed."));
            }
            "LOGOUT" => {
                conn.say(BYE);
                conn.say(format!("{tag} OK LOGOUT completed."));
                conn.close().await?;
                return Ok(None);
            }
            "SELECT" | "EXAMINE" | "LIST" | "LSUB" | "STATUS" | "FETCH" | "UID" | "SEARCH"
            | "STORE" | "APPEND" | "IDLE" | "NAMESPACE" => {
                conn.say(format!("{tag} BAD Command received in Invalid state."));
            }
            _ => conn.say(format!("{tag} BAD Command Error. 10")),
        }
    }
}

fn mechanism(words: &[Word]) -> String {
    let mechanism = words.first().and_then(Word::text).unwrap_or_default();
    mechanism.to_ascii_uppercase()
}

/// Writes a command into the transcript, without secrets.
fn note(shared: &Shared, command: &Command) {
    let Command { tag, verb, .. } = command;
    let line = match verb.as_str() {
        "LOGIN" => format!("{tag} LOGIN …"),
        "AUTHENTICATE" => {
            let mechanism = mechanism(&command.words);
            match command.words.get(1).and_then(Word::text) {
                Some(initial) => {
                    format!(
                        "{tag} AUTHENTICATE {mechanism} {}",
                        shown(initial.as_bytes())
                    )
                }
                None => format!("{tag} AUTHENTICATE {mechanism}"),
            }
        }
        _ => String::from_utf8_lossy(&command.line).into_owned(),
    };
    shared.log.command(Service::Imap, &line);
}
