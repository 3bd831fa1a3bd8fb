//! Input and output types of a session's machine.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::fault::{Fault, Kind};
use crate::wire::Protocol;

/// Input of the machine: one event.
#[derive(Debug)]
pub enum Input<'a> {
    /// Octets received from the client.
    Client(&'a [u8]),
    /// The client has closed its direction; it may still read.
    ClientEnded,
    /// The client's connection was reset or failed. Holds the error for the log.
    ClientGone(String),
    /// Octets received from the upstream.
    Upstream(&'a [u8]),
    /// The upstream has closed its direction.
    UpstreamEnded,
    /// The upstream's connection failed. Holds the error.
    UpstreamGone(String),
    /// Whether each side has accepted everything sent to it.
    Flushed {
        /// Whether nothing for the client is left to send.
        client: bool,
        /// Whether nothing for the upstream is left to send.
        upstream: bool,
    },
    /// Reply to [`Action::RequestPermit`].
    Permit(Permit),
    /// Reply to [`Action::OpenUpstream`]: another upstream is logged in.
    UpstreamOpened,
    /// Reply to [`Action::OpenUpstream`]: no upstream could be logged in.
    UpstreamRefused(Box<Fault>),
    /// The session must end at the next reply boundary, within this time at the latest.
    Drain(Duration),
    /// The session must end at once.
    Stop,
    /// [`Interest::until`] has passed without other input.
    Timeout,
}

/// Result of a request to send a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// The message may start. It counts as in flight until [`Action::ReleasePermit`].
    Granted,
    /// The mailbox or account has reached its messages per minute.
    TooMany,
    /// The mailbox had its maximum of messages in flight for the whole waiting time.
    Full,
}

/// Action that the driver must carry out at once, in the order given.
#[derive(Debug)]
pub enum Action<'a> {
    /// Send these octets to the client.
    ToClient(&'a [u8]),
    /// Send these octets to the upstream.
    ToUpstream(&'a [u8]),
    /// Close our direction of the upstream connection after everything already sent.
    CloseUpstream,
    /// Close the upstream connection; the session continues without one.
    DropUpstream,
    /// Request a permit to send a message from this sender. The result is [`Input::Permit`].
    RequestPermit(&'a str),
    /// Release the permit of a message that has ended, or withdraw the request.
    ReleasePermit,
    /// Log in to the upstream as this mailbox, in place of the previous upstream. The result is
    /// [`Input::UpstreamOpened`] or [`Input::UpstreamRefused`].
    OpenUpstream(&'a str),
    /// Start no message of the mailbox for this time, as the mail service requires.
    BackOff(Duration),
    /// Record an event of the session.
    Record(Event),
}

/// Callback for actions, called at once for each.
pub type Out<'a> = &'a mut dyn FnMut(Action<'_>);

/// Event for the session's record.
#[derive(Debug)]
pub enum Event {
    /// A message has ended.
    Message(MessageReport),
    /// A refusal or failure after which the session continues.
    Fault(Fault),
}

impl Event {
    /// Fault: a reply of the mail service shows that the mailbox stays closed after the login.
    pub(super) fn mailbox_closed(reply: &[u8]) -> Self {
        let reply = String::from_utf8_lossy(reply);
        let detail =
            format!("the mail service accepted the login but does not open the mailbox: {reply}");
        Self::Fault(Fault::new(Kind::Mailbox, detail))
    }
}

/// Outcome of a message that a session sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageOutcome {
    /// The mail service accepted the message.
    Accepted,
    /// The upstream rejected the message, or the policy did while it was being sent.
    Rejected,
    /// The session ended before the final reply.
    Lost,
}

impl MessageOutcome {
    /// Name of the outcome in metrics and audit records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Lost => "lost",
        }
    }
}

/// Report about a message that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageReport {
    /// Sender as the mail service knows it, without angle brackets; empty for the null sender.
    pub from: String,
    /// Recipients that the mail service accepted, without angle brackets.
    pub to: Vec<String>,
    /// Size in octets, without the dots added for transparency.
    pub size: u64,
    /// Final reply with its code, which contains Exchange's queue id. `None` if there was none.
    pub reply: Option<String>,
    /// Outcome of the message at the upstream.
    pub outcome: MessageOutcome,
}

/// Next action of the driver.
#[derive(Debug)]
pub enum Next {
    /// Wait for one of these inputs.
    Wait(Interest),
    /// End the session.
    End(End),
}

/// Inputs that the machine waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    /// Whether to receive from the client.
    pub client: bool,
    /// Whether to detect a lost client connection without receiving from it.
    pub client_gone: bool,
    /// Whether to receive from the upstream.
    pub upstream: bool,
    /// Time of [`Input::Timeout`] if no other input arrives before.
    pub until: Instant,
}

/// Side that ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedBy {
    /// The client closed its connection, or it was lost.
    Client,
    /// The mail service closed its connection.
    Upstream,
    /// authrelay ended the session.
    Authrelay,
}

impl ClosedBy {
    /// Name of the side in logs and audit records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Authrelay => "authrelay",
        }
    }
}

/// End of a relayed session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Side that ended it.
    pub closed_by: ClosedBy,
    /// Reason, unless the session ended in order.
    pub fault: Option<Fault>,
    /// Final reply to the client; empty if none may be sent.
    pub reply: Bytes,
    /// Time by which both connections are closed.
    pub close_by: Instant,
}

/// State of a relayed session's protocol.
pub trait TrackedProtocol: std::fmt::Debug + Send {
    /// The protocol.
    fn protocol(&self) -> Protocol;

    /// Handles octets from the client.
    fn on_client(&mut self, octets: &[u8], out: Out<'_>);

    /// Handles octets from the upstream.
    fn on_upstream(&mut self, octets: &[u8], out: Out<'_>);

    /// Whether a line of our own may follow what the client was sent so far.
    fn at_reply_boundary(&self) -> bool;

    /// Whether no reply is pending and no message is in progress.
    fn is_idle(&self) -> bool;

    /// Whether the end was announced: by the upstream (`BYE`, `221`, `421`) or by the client
    /// (QUIT).
    fn closing_announced(&self) -> bool;
}
