//! Commands that relays send to their shared store, and its replies. Each command is one script
//! there: it is executed as a whole or not at all.
//!
//! | command | does | answers |
//! | --- | --- | --- |
//! | `Mark` | sets the marker where it is lost | `Marked` |
//! | `Epoch` | reads the marker, and sets nothing | `Marked` |
//! | `Back` | registers that this relay has compared its records and entered its redemptions | `Roster` |
//! | `Beat` | registers that this relay lives | `Roster` |
//! | `Leave` | removes this relay, which stops | `Done` |
//! | `Get` | reads a record and who is entered | `Found` |
//! | `Names` | reads the names of all consents | `Names` |
//! | `Put` | stores and publishes what is greater, removes the entry | `Done`, `Greater` |
//! | `Begin` | enters where the number is stored and no relay is entered | `Done`, `Held`, `Settling`, `Moved` |
//! | `Enter` | enters over any entry, where the number is stored | `Done`, `Moved` |
//! | `Renew` | prolongs an entry | `Done`, `Moved` |
//! | `Clear` | removes an entry by its nonce | `Done` |
//! | `End` | marks a number as ended, where number and entry are still these | `Done`, `Moved` |
//! | `Acquire` | reserves a message in flight and within the minute | `Done`, `Held`, `Wait` |
//! | `Hold` | prolongs a message in flight, whatever the count | `Done` |
//! | `Release` | ends a message in flight | `Done` |
//! | `Pace` | reserves a message within the minute | `Done`, `Wait` |
//! | `Keep`, `Look`, `Take` | keep, read or take a value for a time: a pause, a backoff, a consent that was asked for | `Done`, `Value` |
//! | `Recall` | reads every published value that still lives | `Values` |
//! | `Count` | counts a failed login | `Counted` |
//!
//! Everything but `Mark` and `Epoch` answers `Lost` where the marker is not the one that this relay knows, or
//! where the store's clock has jumped; `Epoch` where there is none, or the clock has jumped.

use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{Hash as _, Hasher as _};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::mark::Mark;
use super::number::Number;

/// Interval of beats.
pub const BEAT: Duration = Duration::from_secs(10);

/// Lifetime of an entry and of a message in flight without renewal.
pub const LEASE: Duration = Duration::from_secs(30);

/// Interval at which an entry is renewed.
pub const RENEW: Duration = Duration::from_secs(5);

/// Silence after which a relay counts as gone.
pub const GONE: Duration = Duration::from_secs(15 * 60);

/// Distance from the last beat beyond which the store's clock has jumped.
pub const JUMP: Duration = Duration::from_secs(20);

/// Identifier of an entry, which also tells two entries of one relay apart.
pub type Nonce = u64;

/// Context sent with each command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Run id of the server, from the beginning of the connection.
    pub run: Arc<str>,
    /// Epoch of the marker in which this relay rejoined.
    pub epoch: Arc<str>,
    /// This relay's id.
    pub relay: Arc<str>,
}

/// A record as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Number that orders the records of one name.
    pub number: Number,
    /// Whether the identity provider has refused it for good.
    pub ended: bool,
    /// Sealed with `state.key`.
    pub text: Arc<str>,
    /// Lifetime in the store; `None`: unlimited.
    pub life: Option<Duration>,
}

impl Sealed {
    /// Parses a record from the words of an answer or a publication; `None` if they are none.
    pub(super) fn parse(consent: &str, generation: &str, ended: &str, text: &str) -> Option<Self> {
        let number = Number {
            consent: consent.parse().ok()?,
            generation: generation.parse().ok()?,
        };
        Some(Self {
            number,
            ended: ended == "1",
            text: text.into(),
            life: None,
        })
    }

    /// The part of the record that is compared.
    pub fn mark(&self) -> Mark {
        let mut hasher = std::hash::DefaultHasher::new();
        self.text.hash(&mut hasher);
        Mark {
            number: self.number,
            ended: self.ended,
            digest: hasher.finish(),
        }
    }
}

/// Relay that redeems a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The relay's id.
    pub relay: Arc<str>,
    /// Nonce of the entry.
    pub nonce: Nonce,
}

/// Relays by id, and how long ago each was heard of.
pub type Ages = BTreeMap<Arc<str>, Duration>;

/// Command for the store; the table above describes each.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Command {
    /// `epoch` is used if the marker is lost; `roster` are the known relays.
    Mark {
        epoch: Arc<str>,
        roster: Ages,
    },
    Epoch,
    Back {
        roster: Ages,
    },
    Beat,
    Leave,
    Get {
        name: Arc<str>,
    },
    Names,
    Put {
        name: Arc<str>,
        record: Sealed,
    },
    /// `one_use`: the entry holds until its relay is done or gone.
    Begin {
        name: Arc<str>,
        number: Number,
        nonce: Nonce,
        one_use: bool,
    },
    Enter {
        name: Arc<str>,
        number: Number,
        nonce: Nonce,
        one_use: bool,
    },
    Renew {
        name: Arc<str>,
        nonce: Nonce,
    },
    Clear {
        name: Arc<str>,
        nonce: Nonce,
    },
    /// `record` has the reason.
    End {
        name: Arc<str>,
        nonce: Nonce,
        record: Sealed,
    },
    /// `own` are this relay's messages in flight, those that it began without the store included;
    /// `share` is the most that it may have while the store settles.
    Acquire {
        mailbox: Arc<str>,
        message: u64,
        own: Vec<u64>,
        limit: usize,
        share: usize,
        per_minute: usize,
    },
    Hold {
        mailbox: Arc<str>,
        messages: Vec<u64>,
    },
    Release {
        mailbox: Arc<str>,
        message: u64,
    },
    Pace {
        mailbox: Arc<str>,
        message: u64,
        per_minute: usize,
    },
    /// Keeps a value; of two the longer-lived stays. With `is_published` all relays get it.
    Keep {
        name: Arc<str>,
        value: Arc<str>,
        life: Duration,
        is_published: bool,
    },
    Look {
        name: Arc<str>,
    },
    Take {
        name: Arc<str>,
    },
    Recall,
    /// Counts a failure: after `most` within `window` the login is locked for `lock`. Without a policy
    /// the count is only read.
    Count {
        name: Arc<str>,
        policy: Option<(Duration, u32, Duration)>,
    },
    /// Removes the failures of a login that has succeeded.
    Uncount {
        name: Arc<str>,
    },
}

/// Names the commands, for the metrics.
macro_rules! names {
    ($($command:ident $name:literal,)*) => {
        impl Command {
            /// All names that [`Command::name`] returns.
            pub const NAMES: &[&'static str] = &[$($name),*];

            /// Name of the command in the metrics.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$command { .. } => $name,)*
                }
            }
        }
    };
}

names! {
    Mark "mark",
    Epoch "epoch",
    Back "back",
    Beat "beat",
    Leave "leave",
    Get "get",
    Names "names",
    Put "put",
    Begin "begin",
    Enter "enter",
    Renew "renew",
    Clear "clear",
    End "end",
    Acquire "acquire",
    Hold "hold",
    Release "release",
    Pace "pace",
    Keep "keep",
    Look "look",
    Take "take",
    Recall "recall",
    Count "count",
    Uncount "uncount",
}

/// Answer of the store; the table above says which command gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Answer {
    /// The marker is gone or another one: nothing was done.
    Lost,
    Marked {
        epoch: Arc<str>,
    },
    Done,
    Held,
    Settling,
    /// The stored number or the entry has changed.
    Moved,
    Greater(Sealed),
    Found {
        record: Option<Sealed>,
        entry: Option<Entry>,
    },
    Names(Vec<Arc<str>>),
    Roster {
        ages: Ages,
        settled: bool,
    },
    Wait(Duration),
    Value(Option<Arc<str>>, Duration),
    Values(Vec<(Arc<str>, Arc<str>, Duration)>),
    Counted {
        failures: u32,
        locked: Duration,
    },
}

/// Failure of a store that does not answer: an error or a timeout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Messages published to all relays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// A record was stored or ended.
    Record(Arc<str>, Sealed),
    /// The marker was set again: every relay has to rejoin.
    Lost,
    /// An unknown relay has joined.
    Joined(Arc<str>),
    /// A value was kept, with its lifetime.
    Kept(Arc<str>, Arc<str>, Duration),
    /// A login has failed: the count, and the duration of its lock.
    Counted(Arc<str>, u32, Duration),
    /// A connection was made: this relay has to rejoin.
    Connected,
}

/// Future of an answer.
pub type Reply<'a> = Pin<Box<dyn Future<Output = Result<Answer, Unavailable>> + Send + 'a>>;

/// A store that several relays share.
pub trait Store: Send + Sync {
    /// Executes a command as a whole, within the store's time for an operation.
    fn execute<'a>(&'a self, context: &'a Context, command: &'a Command) -> Reply<'a>;
}
