//! Tracks the protocol of a relayed session, and passes its octets on.

use super::imap::Imap;
use super::interface::{Action, Event, Out, Permit};
use super::pop3::Pop3;
use super::smtp::{Smtp, SmtpRules};
use crate::fault::Fault;
use crate::wire::Protocol;

/// Protocol state of a relayed session. Keeps at most 120 octets of the current line. Over SMTP it
/// keeps up to 4 KiB of a command, 1 KiB of a reply, and 64 KiB plus one read of input that waits
/// for replies.
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
    /// Tracks a session of `protocol` after its login, without rules.
    pub fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Imap => Self::Imap(Box::default()),
            Protocol::Pop3 => Self::Pop3(Box::default()),
            Protocol::Smtp => Self::with_rules(SmtpRules::default()),
        }
    }

    /// Tracks an SMTP session under `rules`.
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

    /// Records the messages without final reply when the session ends.
    pub(super) fn on_end(&mut self, out: Out<'_>) {
        if let Some(smtp) = self.smtp_mut() {
            smtp.on_end(out);
        }
    }

    /// Whether rules apply, so that some commands are answered here.
    pub(super) fn is_ruled(&self) -> bool {
        self.smtp().is_some_and(Smtp::is_ruled)
    }

    /// Whether more client input is accepted.
    pub(super) fn accepts_input(&self) -> bool {
        self.smtp().is_none_or(Smtp::accepts_input)
    }

    /// Whether client input is held until a reply or a permit arrives.
    pub(super) fn holds_input(&self) -> bool {
        self.smtp().is_some_and(Smtp::holds_input)
    }

    /// Whether a MAIL waits for its permit or its upstream and the client has sent nothing after
    /// it.
    pub(super) fn is_waiting_alone(&self) -> bool {
        self.smtp().is_some_and(Smtp::is_waiting_alone)
    }

    /// Whether a MAIL waits for its permit or its upstream.
    pub(super) fn is_waiting(&self) -> bool {
        self.smtp().is_some_and(Smtp::is_waiting)
    }

    /// Whether the session has an upstream connection.
    pub(super) fn has_upstream(&self) -> bool {
        self.smtp().is_none_or(Smtp::has_upstream)
    }

    /// Whether the session can continue without its current upstream.
    pub(super) fn goes_on_without_upstream(&self) -> bool {
        self.smtp().is_some_and(Smtp::goes_on_without_upstream)
    }

    /// Whether a message was cut off, after which the upstream is neither written to nor read.
    pub(super) fn is_aborted(&self) -> bool {
        self.smtp().is_some_and(Smtp::is_aborted)
    }

    /// Whether the session must end; the client already has its reply.
    pub(super) fn is_over(&self) -> bool {
        self.smtp().is_some_and(Smtp::is_over)
    }

    /// Whether the client is sending a message.
    pub(super) fn is_receiving(&self) -> bool {
        self.smtp().is_some_and(Smtp::is_receiving)
    }

    /// Whether a message's text ends with a lone dot and a line end on either side of it is LF
    /// only.
    pub(super) fn waits_behind_bare_line_end(&self) -> bool {
        self.smtp().is_some_and(Smtp::waits_behind_bare_line_end)
    }

    /// Whether a line of our own may follow what the client was sent so far.
    pub fn at_reply_boundary(&self) -> bool {
        match self {
            Self::Imap(imap) => imap.at_reply_boundary(),
            // RFC 1939 has no unsolicited replies.
            Self::Pop3(_) => false,
            Self::Smtp(smtp) => smtp.at_reply_boundary(),
        }
    }

    /// Whether no reply is pending and no message is in progress.
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Imap(imap) => imap.is_idle(),
            Self::Pop3(pop3) => pop3.is_idle(),
            Self::Smtp(smtp) => smtp.is_idle(),
        }
    }

    /// Whether the end was announced: by the upstream (`BYE`, `221`, `421`) or by the client
    /// (QUIT).
    pub fn closing_announced(&self) -> bool {
        match self {
            Self::Imap(imap) => imap.closing_announced(),
            Self::Pop3(pop3) => pop3.closing_announced(),
            Self::Smtp(smtp) => smtp.closing_announced(),
        }
    }
}
