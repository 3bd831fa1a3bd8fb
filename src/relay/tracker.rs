//! Follows the protocol of a relayed session: is a reply, a literal or a message incomplete, and
//! what goes on to the other side.

use super::imap::Imap;
use super::interface::{Action, Event, Out, Permit};
use super::pop3::Pop3;
use super::smtp::{Smtp, SmtpRules};
use crate::fault::Fault;
use crate::wire::Protocol;

/// The protocol's state of a session. Keeps at most 120 octets of the current line; over SMTP
/// 4 KiB of a command, 1 KiB of a reply and what a client sends ahead of the replies it has to
/// wait for, 64 KiB and one read at most.
#[derive(Debug)]
pub enum Tracker {
    /// Tracker of an IMAP session (RFC 9051).
    Imap(Box<Imap>),
    /// Tracker of a POP3 session (RFC 1939).
    Pop3(Box<Pop3>),
    /// Tracker of an SMTP session (RFC 5321).
    Smtp(Box<Smtp>),
}

impl Tracker {
    /// Follows a session of `protocol` that was just logged in, without rules.
    pub fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Imap => Self::Imap(Box::default()),
            Protocol::Pop3 => Self::Pop3(Box::default()),
            Protocol::Smtp => Self::with_rules(SmtpRules::default()),
        }
    }

    /// Follows an SMTP session that is subject to `rules`.
    pub fn with_rules(rules: SmtpRules) -> Self {
        Self::Smtp(Box::new(Smtp::new(rules)))
    }

    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::Imap(_) => Protocol::Imap,
            Self::Pop3(_) => Protocol::Pop3,
            Self::Smtp(_) => Protocol::Smtp,
        }
    }

    pub(super) fn on_client(&mut self, octets: &[u8], out: Out<'_>) {
        match self {
            Self::Imap(imap) => {
                imap.on_client(octets, &mut |octets| out(Action::ToUpstream(octets)))
            }
            Self::Pop3(pop3) => {
                pop3.on_client(octets, &mut |octets| out(Action::ToUpstream(octets)))
            }
            Self::Smtp(smtp) => smtp.on_client(octets, out),
        }
    }

    pub(super) fn on_upstream(&mut self, octets: &[u8], out: Out<'_>) {
        let fault = match self {
            Self::Imap(imap) => imap.on_upstream(octets),
            Self::Pop3(pop3) => pop3.on_upstream(octets),
            Self::Smtp(smtp) => return smtp.on_upstream(octets, out),
        };
        out(Action::ToClient(octets));
        if let Some(fault) = fault {
            out(Action::Record(Event::Fault(fault)));
        }
    }

    fn smtp(&self) -> Option<&Smtp> {
        match self {
            Self::Imap(_) | Self::Pop3(_) => None,
            Self::Smtp(smtp) => Some(smtp),
        }
    }

    fn smtp_mut(&mut self) -> Option<&mut Smtp> {
        match self {
            Self::Imap(_) | Self::Pop3(_) => None,
            Self::Smtp(smtp) => Some(smtp),
        }
    }

    pub(super) fn on_client_ended(&mut self, out: Out<'_>) {
        if let Some(smtp) = self.smtp_mut() {
            smtp.on_client_ended(out);
        }
    }

    pub(super) fn on_client_flushed(&mut self, flushed: bool, out: Out<'_>) {
        if let Some(smtp) = self.smtp_mut() {
            smtp.on_client_flushed(flushed, out);
        }
    }

    pub(super) fn on_permit(&mut self, permit: Permit, out: Out<'_>) {
        if let Some(smtp) = self.smtp_mut() {
            smtp.on_permit(permit, out);
        }
    }

    pub(super) fn on_upstream_opened(&mut self, out: Out<'_>) {
        if let Some(smtp) = self.smtp_mut() {
            smtp.on_upstream_opened(out);
        }
    }

    pub(super) fn on_upstream_refused(&mut self, fault: &Fault, out: Out<'_>) {
        if let Some(smtp) = self.smtp_mut() {
            smtp.on_upstream_refused(fault, out);
        }
    }

    pub(super) fn on_upstream_lost(&mut self, out: Out<'_>) {
        if let Some(smtp) = self.smtp_mut() {
            smtp.on_upstream_lost(out);
        }
    }

    /// The session has ended: records what became of the messages that have no final reply.
    pub(super) fn on_end(&mut self, out: Out<'_>) {
        if let Some(smtp) = self.smtp_mut() {
            smtp.on_end(out);
        }
    }

    /// Whether it is subject to rules: then it answers some commands itself.
    pub(super) fn is_ruled(&self) -> bool {
        self.smtp().is_some_and(Smtp::is_ruled)
    }

    /// Whether there is room for octets of the client.
    pub(super) fn accepts_input(&self) -> bool {
        self.smtp().is_none_or(Smtp::accepts_input)
    }

    /// Whether octets of the client wait here for a reply or a permit.
    pub(super) fn holds_input(&self) -> bool {
        self.smtp().is_some_and(Smtp::holds_input)
    }

    /// Whether a MAIL waits for its permit, or for its upstream, and the client has sent nothing
    /// after it.
    pub(super) fn is_waiting_alone(&self) -> bool {
        self.smtp().is_some_and(Smtp::is_waiting_alone)
    }

    /// Whether a MAIL waits for its permit, or for its upstream.
    pub(super) fn is_waiting(&self) -> bool {
        self.smtp().is_some_and(Smtp::is_waiting)
    }

    /// Whether there is an upstream's connection.
    pub(super) fn has_upstream(&self) -> bool {
        self.smtp().is_none_or(Smtp::has_upstream)
    }

    /// Whether the session can do without the upstream that it has.
    pub(super) fn goes_on_without_upstream(&self) -> bool {
        self.smtp().is_some_and(Smtp::goes_on_without_upstream)
    }

    /// Whether the upstream gets nothing more and is not heard any more: a message was cut off.
    pub(super) fn is_aborted(&self) -> bool {
        self.smtp().is_some_and(Smtp::is_aborted)
    }

    /// Whether the session ends, since the client was informed.
    pub(super) fn is_over(&self) -> bool {
        self.smtp().is_some_and(Smtp::is_over)
    }

    /// Whether the client is sending a message.
    pub(super) fn is_receiving(&self) -> bool {
        self.smtp().is_some_and(Smtp::is_receiving)
    }

    /// Whether a message's text ends with a lone dot whose line ends are not both CRLF.
    pub(super) fn waits_behind_bare_line_end(&self) -> bool {
        self.smtp().is_some_and(Smtp::waits_behind_bare_line_end)
    }

    /// Whether a line of ours may follow what the client was sent so far.
    pub fn at_reply_boundary(&self) -> bool {
        match self {
            Self::Imap(imap) => imap.at_reply_boundary(),
            // RFC 1939 has no reply that answers no command.
            Self::Pop3(_) => false,
            Self::Smtp(smtp) => smtp.at_reply_boundary(),
        }
    }

    /// Whether no command is being answered and no message is in progress.
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Imap(imap) => imap.is_idle(),
            Self::Pop3(pop3) => pop3.is_idle(),
            Self::Smtp(smtp) => smtp.is_idle(),
        }
    }

    /// Whether the upstream has announced the end (`BYE`, `221`, `421`), or the client was informed
    /// to expect it (QUIT).
    pub fn closing_announced(&self) -> bool {
        match self {
            Self::Imap(imap) => imap.closing_announced(),
            Self::Pop3(pop3) => pop3.closing_announced(),
            Self::Smtp(smtp) => smtp.closing_announced(),
        }
    }
}
