//! Commands that relays send to their shared store, and its replies. Each command is one script
//! there: it is executed as a whole or not at all.
//!
//! | command | does | answers |
//! | --- | --- | --- |
//! | `Mark` | sets the marker where it is lost | `Marked` |
//! | `Epoch` | reads the marker, and sets nothing | `Marked` |
//! | `Back` | this relay has compared its records and entered its redemptions | `Roster` |
//! | `Beat` | this relay lives | `Roster` |
//! | `Leave` | this relay has stopped | `Done` |
//! | `Get` | reads a record and who is entered | `Found` |
//! | `Names` | reads the names of all consents | `Names` |
//! | `Put` | stores and publishes what is greater, removes the entry | `Done`, `Greater` |
//! | `Begin` | enters where the number is stored and nobody is entered | `Done`, `Held`, `Settling`, `Moved` |
//! | `Enter` | enters over any entry, where the number is stored | `Done`, `Moved` |
//! | `Renew` | prolongs an entry | `Done`, `Moved` |
//! | `Clear` | removes an entry by its nonce | `Done` |
//! | `End` | marks a number as ended, where number and entry are still these | `Done`, `Moved` |
//! | `Acquire` | a message may begin, and does within the minute | `Done`, `Held`, `Wait` |
//! | `Hold` | a message is in flight still, whatever the count | `Done` |
//! | `Release` | a message is in flight no more | `Done` |
//! | `Pace` | one more message begins within the minute | `Done`, `Wait` |
//! | `Keep`, `Look`, `Take` | a value for a time: a pause, a backoff, a consent that was asked for | `Done`, `Value` |
//! | `Recall` | every value that was told to all and still lives | `Values` |
//! | `Count` | one more failed login | `Counted` |
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

/// A beat is due so often.
pub const BEAT: Duration = Duration::from_secs(10);

/// An entry, and a message's place, live so long unless they are renewed.
pub const LEASE: Duration = Duration::from_secs(30);

/// An entry is renewed so often.
pub const RENEW: Duration = Duration::from_secs(5);

/// A relay that was silent for so long is gone.
pub const GONE: Duration = Duration::from_secs(15 * 60);

/// The store's clock has jumped where it is further than this past every beat.
pub const JUMP: Duration = Duration::from_secs(20);

/// Identifier of an entry, which also tells two entries of one relay apart.
pub type Nonce = u64;

/// Context sent with each command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The run id of the server, learned when the connection was made.
    pub run: Arc<str>,
    /// The marker's epoch that this relay came back in.
    pub epoch: Arc<str>,
    /// This relay's id.
    pub relay: Arc<str>,
}

/// A record as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Orders it among the records of its name.
    pub number: Number,
    /// The identity provider has refused it for good.
    pub ended: bool,
    /// Sealed with `state.key`.
    pub text: Arc<str>,
    /// For how long the store keeps it, where not for ever.
    pub life: Option<Duration>,
}

impl Sealed {
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
    /// Its nonce.
    pub nonce: Nonce,
}

/// Relays by id, and how long ago each was heard of.
pub type Ages = BTreeMap<Arc<str>, Duration>;

/// See the table above.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Command {
    /// With an epoch that is taken where the marker is lost, and the relays that are known.
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
    /// With the record that says why.
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
    /// Keeps a value; of two the longer-lived stays. Published if it is `is_published`.
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
    /// One more failure: after `most` within `window` it is locked for `lock`. Without a policy it is
    /// only looked at.
    Count {
        name: Arc<str>,
        policy: Option<(Duration, u32, Duration)>,
    },
    /// A login has succeeded: its failures count no more.
    Uncount {
        name: Arc<str>,
    },
}

impl Command {
    /// For the metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mark { .. } => "mark",
            Self::Epoch => "epoch",
            Self::Back { .. } => "back",
            Self::Beat => "beat",
            Self::Leave => "leave",
            Self::Get { .. } => "get",
            Self::Names => "names",
            Self::Put { .. } => "put",
            Self::Begin { .. } => "begin",
            Self::Enter { .. } => "enter",
            Self::Renew { .. } => "renew",
            Self::Clear { .. } => "clear",
            Self::End { .. } => "end",
            Self::Acquire { .. } => "acquire",
            Self::Hold { .. } => "hold",
            Self::Release { .. } => "release",
            Self::Pace { .. } => "pace",
            Self::Keep { .. } => "keep",
            Self::Look { .. } => "look",
            Self::Take { .. } => "take",
            Self::Recall => "recall",
            Self::Count { .. } => "count",
            Self::Uncount { .. } => "uncount",
        }
    }

    /// Every name of [`Command::name`].
    pub const NAMES: [&'static str; 23] = [
        "mark", "epoch", "back", "beat", "leave", "get", "names", "put", "begin", "enter", "renew",
        "clear", "end", "acquire", "hold", "release", "pace", "keep", "look", "take", "recall",
        "count", "uncount",
    ];
}

/// See the table above.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Answer {
    /// The marker is gone, another's, or of another time: nothing was done.
    Lost,
    Marked {
        epoch: Arc<str>,
    },
    Done,
    Held,
    Settling,
    /// The stored number, or the entry, is another.
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

/// A store that does not answer: an error, or no word within its time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Messages published to all relays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// A record was stored or ended.
    Record(Arc<str>, Sealed),
    /// The marker was set anew: everybody has to come back.
    Lost,
    /// A relay that was not known has come.
    Joined(Arc<str>),
    /// A value was kept, for so long.
    Kept(Arc<str>, Arc<str>, Duration),
    /// A login has failed so often, and is locked for so long.
    Counted(Arc<str>, u32, Duration),
    /// A connection was made: this relay has to come back.
    Connected,
}

/// An answer that is on its way.
pub type Reply<'a> = Pin<Box<dyn Future<Output = Result<Answer, Unavailable>> + Send + 'a>>;

/// A store that several relays share.
pub trait Store: Send + Sync {
    /// Executes a command as a whole, within the store's time for an operation.
    fn execute<'a>(&'a self, context: &'a Context, command: &'a Command) -> Reply<'a>;
}
