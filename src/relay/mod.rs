//! After login: bytes both ways, unchanged.
//!
//! [`run`] is one future over two [`Stream`]s; it holds no buffer of its own. A [`Watch`] sees the
//! bytes in passing and knows, without keeping them, whether a reply, a literal or a message is
//! open: the only thing authrelay ever adds is a last word (`* BYE`, `421`) on a clean boundary.
//! Over SMTP a [`Gate`] may stand between: then commands wait for their turn, or are refused.

mod envelope;
mod framing;
mod imap;
mod pop3;
mod pump;
mod smtp;

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fault::{Fault, Kind};
use crate::stream::Stream;
use crate::wire::Protocol;
pub use envelope::{Message, Outcome};
use pump::{Stop, pump};
pub use smtp::{Gate, Policy};

/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// When a message may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// At once.
    Now,
    /// Then.
    At(Instant),
    /// Not soon: its client is to try again later.
    Never,
}

/// Who says when messages may go.
pub trait Postmaster: Send + Sync {
    /// A message wants to go.
    fn message(&self) -> Leave;

    /// The mail service wants the mailbox left alone for so long.
    fn back_off(&self, time: Duration);
}

/// What the relay has to tell while it goes on.
#[derive(Debug)]
pub enum News {
    /// Messages came to an end.
    Ended(Vec<Message>),
    /// The policy refused a message.
    Refused(Fault),
}

/// What a session's relay needs to know.
pub struct Terms {
    /// What is spoken.
    pub protocol: Protocol,
    /// No byte either way for so long ends the session.
    pub idle_timeout: Duration,
    /// End at the next clean boundary.
    pub drain: CancellationToken,
    /// End now.
    pub stop: CancellationToken,
    /// Asked where the watch has a [`Gate`]; without one every message may go.
    pub postmaster: Option<Box<dyn Postmaster>>,
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

/// How a relay ended.
#[derive(Debug)]
pub struct Ended {
    /// Who began it.
    pub closed_by: ClosedBy,
    /// Where it was no orderly end.
    pub fault: Option<Fault>,
}

/// Octets relayed so far; kept outside so that a cancelled session has them too, and that others
/// may look.
#[derive(Debug, Default)]
pub struct Counts {
    up: AtomicU64,
    down: AtomicU64,
}

impl Counts {
    /// From client to upstream.
    pub fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    /// From upstream to client.
    pub fn down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }

    /// So many more went up and down.
    pub fn add(&self, up: usize, down: usize) {
        self.up.fetch_add(up as u64, Ordering::Relaxed);
        self.down.fetch_add(down as u64, Ordering::Relaxed);
    }
}

/// Sees a session in passing.
#[derive(Debug)]
pub enum Watch {
    /// RFC 9051.
    Imap(imap::Imap),
    /// RFC 1939.
    Pop3(pop3::Pop3),
    /// RFC 5321.
    Smtp(Box<smtp::Smtp>),
}

impl Watch {
    /// Of a session that was just logged in.
    pub fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Imap => Self::Imap(imap::Imap::default()),
            Protocol::Pop3 => Self::Pop3(pop3::Pop3::default()),
            Protocol::Smtp => Self::Smtp(Box::default()),
        }
    }

    /// SMTP with something between the client and its mail service.
    pub fn gated(gate: Gate) -> Self {
        Self::Smtp(Box::new(smtp::Smtp::new(Some(gate))))
    }

    /// Bytes of the client; `out` gets what goes up.
    pub fn up(&mut self, bytes: &[u8], out: &mut dyn FnMut(&[u8])) {
        match self {
            Self::Imap(watch) => watch.up(bytes),
            Self::Pop3(watch) => watch.up(bytes),
            Self::Smtp(watch) => return watch.up(bytes, out),
        }
        out(bytes);
    }

    /// Bytes of the upstream; `out` gets what goes down.
    pub fn down(&mut self, bytes: &[u8], out: &mut dyn FnMut(&[u8])) {
        match self {
            Self::Imap(watch) => watch.down(bytes),
            Self::Pop3(watch) => watch.down(bytes),
            Self::Smtp(watch) => return watch.down(bytes, out),
        }
        out(bytes);
    }

    /// What a gate has to say to the client by now; to be sent before anything else.
    pub fn take_ours(&mut self) -> Vec<u8> {
        self.smtp_mut().map_or(Vec::new(), smtp::Smtp::take_ours)
    }

    /// Goes on with what a gate holds; to be called after [`Watch::take_ours`], while
    /// [`Watch::is_owing`]. `out` gets what goes up.
    pub fn settle(&mut self, out: &mut dyn FnMut(&[u8])) {
        if let Some(watch) = self.smtp_mut() {
            watch.settle(out);
        }
    }

    /// Whether a gate has something to say, or to go on with.
    pub fn is_owing(&self) -> bool {
        self.smtp().is_some_and(smtp::Smtp::is_owing)
    }

    /// Whether a message waits for [`Watch::leave`].
    pub fn asks(&self) -> bool {
        self.smtp().is_some_and(smtp::Smtp::asks)
    }

    /// The message that waits may go, or not. `out` gets what goes up.
    pub fn leave(&mut self, granted: bool, out: &mut dyn FnMut(&[u8])) {
        if let Some(watch) = self.smtp_mut() {
            watch.leave(granted, out);
        }
    }

    /// Whether the upstream may get nothing more: a message too large was cut off.
    pub fn is_cut(&self) -> bool {
        self.smtp().is_some_and(smtp::Smtp::is_cut)
    }

    /// Whether a gate ends the session, once the client has what is said.
    pub fn is_over(&self) -> bool {
        self.smtp().is_some_and(smtp::Smtp::is_over)
    }

    /// The session has ended: what became of the messages that were not handed over yet.
    pub fn finish(&mut self) -> Vec<Message> {
        self.smtp_mut().map_or(Vec::new(), smtp::Smtp::finish)
    }

    fn smtp(&self) -> Option<&smtp::Smtp> {
        match self {
            Self::Imap(_) | Self::Pop3(_) => None,
            Self::Smtp(watch) => Some(watch),
        }
    }

    fn smtp_mut(&mut self) -> Option<&mut smtp::Smtp> {
        match self {
            Self::Imap(_) | Self::Pop3(_) => None,
            Self::Smtp(watch) => Some(watch),
        }
    }

    /// Whether a line of ours may follow what the client got so far.
    pub fn may_speak(&self) -> bool {
        match self {
            Self::Imap(watch) => watch.may_speak(),
            Self::Pop3(watch) => watch.may_speak(),
            Self::Smtp(watch) => watch.may_speak(),
        }
    }

    /// Whether no command is being answered and no message is under way.
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Imap(watch) => watch.is_idle(),
            Self::Pop3(watch) => watch.is_idle(),
            Self::Smtp(watch) => watch.is_idle(),
        }
    }

    /// Whether the upstream has announced the end (`BYE`, `221`, `421`), or the client was told
    /// to expect it (QUIT).
    pub fn said_goodbye(&self) -> bool {
        match self {
            Self::Imap(watch) => watch.said_goodbye(),
            Self::Pop3(watch) => watch.said_goodbye(),
            Self::Smtp(watch) => watch.said_goodbye(),
        }
    }
}

/// Relays until the session ends. `client` and `upstream` are the session's streams, each with
/// nothing received but not handed on. `news` hears of messages as they end, so that the memory of
/// a session stays bounded whatever it does.
pub async fn run(
    terms: &Terms,
    client: &mut Stream,
    upstream: &mut Stream,
    watch: &mut Watch,
    counts: &Counts,
    news: &mut (dyn FnMut(News) + Send),
) -> Ended {
    let stop = pump(terms, client, upstream, watch, counts, news).await;
    let rest = watch.finish();
    if !rest.is_empty() {
        news(News::Ended(rest));
    }
    let refused = matches!(stop, Stop::Refused);
    let (closed_by, fault) = match stop {
        Stop::Finished(by) => (by, None),
        Stop::ClientGone(error) => {
            tracing::debug!(%error, "the client's connection broke");
            (ClosedBy::Client, None)
        }
        Stop::UpstreamGone(_) if watch.said_goodbye() => (ClosedBy::Upstream, None),
        Stop::UpstreamGone(error) => {
            let how = error.map_or_else(
                || "was closed".to_owned(),
                |error| format!("broke: {error}"),
            );
            let fault = Fault::new(Kind::Lost, format!("the mail service's connection {how}"))
                .remedy_is(
                    "the mail service ended the session; applications log in again by themselves",
                );
            (ClosedBy::Upstream, Some(fault))
        }
        Stop::Idle => {
            let idle = terms.idle_timeout.as_secs();
            let fault = Fault::new(Kind::Idle, format!("no byte either way for {idle} s"));
            (ClosedBy::Authrelay, Some(fault))
        }
        Stop::Trickle => {
            let fault = Fault::new(
                Kind::Idle,
                format!("the message came at under {} octets a second", pump::LEAST_RATE),
            )
            .remedy_is("the application or the way to it is too slow: it would keep others of the mailbox waiting");
            (ClosedBy::Authrelay, Some(fault))
        }
        // The fault was told with the refusal.
        Stop::Refused => (ClosedBy::Authrelay, None),
        Stop::Lingered(by) => (by, None),
        Stop::Draining => (
            ClosedBy::Authrelay,
            Some(Fault::new(Kind::Draining, "shutting down")),
        ),
    };
    let words = match &fault {
        Some(fault) if watch.may_speak() && !watch.said_goodbye() => {
            fault.reply(terms.protocol, None).text
        }
        None if refused => Bytes::from_static(b"421 4.7.0 Closing the connection.\r\n"),
        _ => Bytes::new(),
    };
    farewell(client, upstream, &words).await;
    Ended { closed_by, fault }
}

/// The client's last words; both connections end.
async fn farewell(client: &mut Stream, upstream: &mut Stream, words: &[u8]) {
    let to_client = async {
        if client.write(words).await.is_ok() {
            client.finish().await;
        }
    };
    // Nothing but an end goes up: a message that is under way must not look complete.
    let to_upstream = async {
        upstream.close();
        let _ = poll_fn(|cx| upstream.poll_flush(cx)).await;
    };
    let _ = tokio::time::timeout(FAREWELL, async { tokio::join!(to_client, to_upstream) }).await;
}
