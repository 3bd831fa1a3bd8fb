//! What goes into a session's machine and what comes out of it.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::envelope::MessageReport;
use crate::fault::Fault;

/// Input of the machine: one thing that happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// Octets received from the client.
    Client(&'a [u8]),
    /// The client has ended its direction; it may still read.
    ClientEnded,
    /// The client's connection is gone: reset, or broken. The text is the error, for the log.
    ClientGone(String),
    /// Octets received from the upstream.
    Upstream(&'a [u8]),
    /// The upstream has ended its direction.
    UpstreamEnded,
    /// The upstream's connection is gone. The text is the error.
    UpstreamGone(String),
    /// Whether each side has taken everything that was sent to it.
    Flushed {
        /// Whether the client's side has.
        client: bool,
        /// Whether the upstream's side has.
        upstream: bool,
    },
    /// Answer of the driver to [`Action::RequestPermit`].
    Permit(Permit),
    /// The answer to [`Action::OpenUpstream`]: another upstream is logged in to.
    UpstreamOpened,
    /// The answer to [`Action::OpenUpstream`]: none could be had.
    UpstreamRefused(Box<Fault>),
    /// End at the next reply boundary, and after this time at the latest.
    Drain(Duration),
    /// The session must end at once.
    Stop,
    /// [`Interest::until`] has come, and there was nothing else to take.
    Timeout,
}

/// Whether a message may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// The message may start; one of the mailbox's messages in flight is this one until
    /// [`Action::ReleasePermit`].
    Granted,
    /// The mailbox or the account may not send more messages in a minute.
    TooMany,
    /// The mailbox has as many messages in flight as allowed, for all of the time that a message
    /// waits.
    Full,
}

/// Action that the driver must take at once, in the order given.
#[derive(Debug)]
pub enum Action<'a> {
    /// Send these octets to the client.
    ToClient(&'a [u8]),
    /// Send these octets to the upstream.
    ToUpstream(&'a [u8]),
    /// End our direction of the upstream's connection after what was sent.
    CloseUpstream,
    /// Close the upstream's connection; the session goes on without one.
    DropUpstream,
    /// Ask for a permit to send a message, and answer with [`Input::Permit`].
    /// The text is MAIL's sender.
    RequestPermit(&'a str),
    /// The message that a permit was asked for is not in flight any more, or is no longer to be.
    ReleasePermit,
    /// Log in to the upstream as this mailbox, in place of the upstream before, and answer with
    /// [`Input::UpstreamOpened`] or [`Input::UpstreamRefused`].
    OpenUpstream(&'a str),
    /// Start no message of the mailbox for this time: the mail service said so.
    BackOff(Duration),
    /// Record this event of the session.
    Record(Event),
}

/// Takes actions as they come about.
pub type Out<'a> = &'a mut dyn FnMut(Action<'_>);

/// Event that goes on the session's record.
#[derive(Debug)]
pub enum Event {
    /// A message came to an end.
    Message(MessageReport),
    /// Something was refused, or went wrong, and the session goes on.
    Fault(Fault),
}

/// Next thing to do until an input comes.
#[derive(Debug)]
pub enum Next {
    /// Wait for one of these inputs.
    Wait(Interest),
    /// End the session, which is over.
    End(End),
}

/// Inputs that the machine waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    /// Whether to receive from the client.
    pub client: bool,
    /// The client must not be received from: notice all the same if its connection is gone.
    pub client_gone: bool,
    /// Whether to receive from the upstream.
    pub upstream: bool,
    /// Without another input by then, [`Input::Timeout`] is one.
    pub until: Instant,
}

/// Side that ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedBy {
    /// The client ended it, or vanished.
    Client,
    /// The mail service ended it.
    Upstream,
    /// The relay itself ended it.
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

/// End of a relayed session: who closed it, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Side that began the end.
    pub closed_by: ClosedBy,
    /// Why, where it was no orderly end.
    pub fault: Option<Fault>,
    /// The final reply to send to the client; empty where nothing may be said.
    pub reply: Bytes,
    /// By when both connections are closed.
    pub close_by: Instant,
}
