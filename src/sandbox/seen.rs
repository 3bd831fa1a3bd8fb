//! Observations of the sandbox: counts and transcripts, for tests.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Maximum number of lines kept of each transcript.
const KEPT: usize = 2_000;
/// Maximum length of a line of a transcript, in characters.
const LINE: usize = 300;

/// A server of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Imap,
    Pop3,
    Smtp,
}

/// Counts by protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// IMAP.
    pub imap: u64,
    /// POP3.
    pub pop3: u64,
    /// SMTP.
    pub smtp: u64,
}

impl Counts {
    /// Sum over all protocols.
    pub fn total(&self) -> u64 {
        self.imap + self.pop3 + self.smtp
    }

    fn of(&mut self, service: Service) -> &mut u64 {
        match service {
            Service::Imap => &mut self.imap,
            Service::Pop3 => &mut self.pop3,
            Service::Smtp => &mut self.smtp,
        }
    }
}

/// Snapshot of everything observed since the start.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Connections to the token endpoint.
    pub token_connections: u64,
    /// Requests for a token, granted or not.
    pub token_requests: u64,
    /// Tokens issued.
    pub tokens_issued: u64,
    /// Connections to the mail services.
    pub connections: Counts,
    /// XOAUTH2 payloads received.
    pub auth_attempts: Counts,
    /// XOAUTH2 payloads accepted.
    pub logins: Counts,
    /// Logged-in sessions at present.
    pub active: Counts,
    /// Maximum of `active` so far.
    pub peak: Counts,
    /// Maximum of `open` so far.
    pub peak_connections: Counts,
    /// Open connections to the mail services at present, logged in or not.
    pub open: Counts,
    /// Messages in flight at present: from MAIL to the final reply, RSET, EHLO or the session's end.
    pub in_flight: u64,
    /// Maximum of `in_flight` so far.
    pub peak_in_flight: u64,
    /// `user=` of the latest XOAUTH2 payloads.
    pub mailbox_users: VecDeque<String>,
    /// Latest token requests: grant, client, scope and kind of credential.
    pub token: VecDeque<String>,
    /// Latest IMAP commands; SASL payloads are shown as `<xoauth2 USER>`.
    pub imap: VecDeque<String>,
    /// Latest POP3 commands, likewise.
    pub pop3: VecDeque<String>,
    /// Latest SMTP commands, likewise.
    pub smtp: VecDeque<String>,
}

/// The observations, and a notification of each change.
#[derive(Default)]
pub(super) struct Log {
    seen: Mutex<Seen>,
    changes: watch::Sender<()>,
}

impl Log {
    pub fn snapshot(&self) -> Seen {
        self.seen.lock().clone()
    }

    /// Returns when `condition` holds, at once if it does already.
    pub async fn wait_for(&self, mut condition: impl FnMut(&Seen) -> bool) -> Seen {
        let mut changes = self.changes.subscribe();
        loop {
            {
                let seen = self.seen.lock();
                if condition(&seen) {
                    return seen.clone();
                }
            }
            // The sender lives as long as `self`.
            let _ = changes.changed().await;
        }
    }

    pub fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock());
        self.changes.send_replace(());
    }

    pub fn connected(&self, service: Service) {
        self.note(|seen| {
            *seen.connections.of(service) += 1;
            let open = seen.open.of(service);
            *open += 1;
            let open = *open;
            let peak = seen.peak_connections.of(service);
            *peak = open.max(*peak);
        });
    }

    pub fn disconnected(&self, service: Service) {
        self.note(|seen| *seen.open.of(service) -= 1);
    }

    pub fn attempted(&self, service: Service, user: &str) {
        self.note(|seen| {
            *seen.auth_attempts.of(service) += 1;
            push(&mut seen.mailbox_users, user);
        });
    }

    pub fn logged_in(&self, service: Service) {
        self.note(|seen| {
            *seen.logins.of(service) += 1;
            let active = seen.active.of(service);
            *active += 1;
            let active = *active;
            let peak = seen.peak.of(service);
            *peak = active.max(*peak);
        });
    }

    pub fn logged_out(&self, service: Service) {
        self.note(|seen| *seen.active.of(service) -= 1);
    }

    pub fn message_began(&self) {
        self.note(|seen| {
            seen.in_flight += 1;
            seen.peak_in_flight = seen.peak_in_flight.max(seen.in_flight);
        });
    }

    pub fn message_ended(&self) {
        self.note(|seen| seen.in_flight -= 1);
    }

    pub fn command(&self, service: Service, line: &str) {
        self.note(|seen| {
            push(
                match service {
                    Service::Imap => &mut seen.imap,
                    Service::Pop3 => &mut seen.pop3,
                    Service::Smtp => &mut seen.smtp,
                },
                line,
            );
        });
    }

    pub fn token_request(&self, line: &str) {
        self.note(|seen| {
            seen.token_requests += 1;
            push(&mut seen.token, line);
        });
    }
}

fn push(lines: &mut VecDeque<String>, line: &str) {
    if lines.len() == KEPT {
        lines.pop_front();
    }
    lines.push_back(line.chars().take(LINE).collect());
}
