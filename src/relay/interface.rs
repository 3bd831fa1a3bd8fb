//! What goes into a session's machine and what comes out of it.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::envelope::MessageReport;
use crate::fault::Fault;

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// Octets of the client.
    Client(&'a [u8]),
    /// The client has ended its direction; it may still read.
    ClientEnded,
    /// The client's connection is gone: reset, or broken. The text is the error, for the log.
    ClientGone(String),
    /// Octets of the upstream.
    Upstream(&'a [u8]),
    /// The upstream has ended its direction.
    UpstreamEnded,
    /// The upstream's connection is gone. The text is the error.
    UpstreamGone(String),
    /// Whether each side has taken everything that was sent to it.
    Flushed {
        /// The client has.
        client: bool,
        /// The upstream has.
        upstream: bool,
    },
    /// The answer to [`Action::RequestPermit`].
    Permit(Permit),
    /// The answer to [`Action::OpenUpstream`]: another upstream is logged in to.
    UpstreamOpened,
    /// The answer to [`Action::OpenUpstream`]: none could be had.
    UpstreamRefused(Box<Fault>),
    /// End at the next reply boundary, and after this time at the latest.
    Drain(Duration),
    /// End now.
    Stop,
    /// [`Interest::until`] has come, and there was nothing else to take.
    Timeout,
}

/// Whether a message may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// It may; one of the mailbox's messages in flight is this one until
    /// [`Action::ReleasePermit`].
    Granted,
    /// The mailbox or the account may not send so many messages in a minute.
    TooMany,
    /// As many messages of the mailbox as may be are in flight, for all of the time that a message
    /// waits.
    Full,
}

/// What the driver must do at once, in this order.
#[derive(Debug)]
pub enum Action<'a> {
    /// Send to the client.
    ToClient(&'a [u8]),
    /// Send to the upstream.
    ToUpstream(&'a [u8]),
    /// End our direction of the upstream's connection after what was sent.
    CloseUpstream,
    /// Close the upstream's connection; the session goes on without one.
    DropUpstream,
    /// Ask for a permit to send a message, and answer with [`Input::Permit`].
    /// The text is MAIL's sender.
    RequestPermit(&'a str),
    /// The message that a permit was asked for is not in flight any more, or does not want to be.
    ReleasePermit,
    /// Log in to the upstream as this mailbox, in place of the upstream before, and answer with
    /// [`Input::UpstreamOpened`] or [`Input::UpstreamRefused`].
    OpenUpstream(&'a str),
    /// Leave the mailbox alone for this long: the mail service said so.
    BackOff(Duration),
    /// Record this.
    Record(Event),
}

/// Takes actions as they come about.
pub type Out<'a> = &'a mut dyn FnMut(Action<'_>);

/// What goes on the session's record.
#[derive(Debug)]
pub enum Event {
    /// A message came to an end.
    Message(MessageReport),
    /// Something was refused, or went wrong, and the session goes on.
    Fault(Fault),
}

/// What to do until the next input.
#[derive(Debug)]
pub enum Next {
    /// Wait.
    Wait(Interest),
    /// The session has ended.
    End(End),
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    /// Receive from the client.
    pub client: bool,
    /// The client must not be received from: notice all the same if its connection is gone.
    pub client_gone: bool,
    /// Receive from the upstream.
    pub upstream: bool,
    /// Without another input by then, [`Input::Timeout`] is one.
    pub until: Instant,
}

/// Who ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedBy {
    /// The client.
    Client,
    /// The mail service.
    Upstream,
    /// We did.
    Authrelay,
}

impl ClosedBy {
    /// As in logs and audit records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Authrelay => "authrelay",
        }
    }
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Which side began it.
    pub closed_by: ClosedBy,
    /// Why, where it was no orderly end.
    pub fault: Option<Fault>,
    /// The final reply to send to the client; empty where nothing may be said.
    pub reply: Bytes,
    /// By when both connections are closed.
    pub close_by: Instant,
}
