//! Why a request brought no token. From its one class follow the pause, the stored record, the
//! metric, the log and the reply.

use std::borrow::Cow;
use std::time::Duration;

use crate::fault::{Fault, Kind};

/// The five kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The endpoint, or the way to it, has trouble, or it throttles. It passes by itself.
    Later {
        /// The endpoint asked for fewer requests.
        throttled: bool,
    },
    /// Refused, and cured by an administrator (a policy, a secret, a user). A consent stays as it
    /// is and works again afterwards.
    Attention,
    /// No consent: none was given, or it has ended for good. Only a new one helps.
    Ended,
    /// The client presented a wrong password.
    Client,
    /// The state directory or this machine has trouble.
    Ours,
}

/// The first pause after a failure, and the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pauses {
    pub(super) first: Duration,
    pub(super) longest: Duration,
}

const fn pauses(first: u64, longest: u64) -> Pauses {
    Pauses {
        first: Duration::from_secs(first),
        longest: Duration::from_secs(longest),
    }
}

impl Class {
    /// The kind of fault, and so the reply.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Later { .. } => Kind::Unavailable,
            Self::Attention | Self::Ended => Kind::GrantRefused,
            Self::Client => Kind::Credentials,
            Self::Ours => Kind::Internal,
        }
    }

    /// Time for which no request is sent. A refused consent is asked about seldom: whoever
    /// has to act takes hours. What an administrator corrects for an application takes minutes.
    pub(super) fn pauses(self, consent: bool) -> Pauses {
        match self {
            Self::Later { .. } => pauses(1, 300),
            Self::Attention if consent => pauses(10, 3600),
            Self::Attention | Self::Ended | Self::Client => pauses(10, 300),
            // No one else is asked: it costs nothing to look again soon.
            Self::Ours => pauses(1, 10),
        }
    }

    /// `outcome` in the metrics, where an endpoint was asked.
    pub(super) fn outcome(self) -> &'static str {
        match self {
            Self::Later { throttled: true } => "throttled",
            Self::Later { throttled: false } | Self::Ours => "unavailable",
            Self::Attention | Self::Ended | Self::Client => "refused",
        }
    }
}

/// A request that brought no token.
#[derive(Debug, Clone)]
pub(crate) struct TokenError {
    /// Class of the failure, which decides what follows.
    pub(crate) class: Class,
    /// Fault for client and log, of the class's kind.
    pub(crate) fault: Fault,
    /// Time to wait, from the header Retry-After.
    pub(crate) retry_after: Option<Duration>,
    /// An endpoint was asked, and this is its answer or the lack of one.
    pub(crate) asked: bool,
    /// Other relays, or their store, stand in the way: it costs nothing to look again soon.
    pub(crate) is_brief: bool,
}

impl TokenError {
    /// Creates a failure for which no endpoint was asked.
    pub(crate) fn new(class: Class, detail: impl AsRef<str>) -> Self {
        Self {
            class,
            fault: Fault::new(class.kind(), detail),
            retry_after: None,
            asked: false,
            is_brief: false,
        }
    }

    /// Creates a failure that other relays or their store are the reason for.
    pub(crate) fn brief(detail: impl AsRef<str>) -> Self {
        Self {
            is_brief: true,
            ..Self::later(detail)
        }
    }

    /// With what an operator can do about it.
    #[must_use]
    pub(crate) fn remedy(mut self, remedy: impl Into<Cow<'static, str>>) -> Self {
        self.fault = self.fault.with_remedy(remedy);
        self
    }

    /// Records that an endpoint was asked.
    #[must_use]
    pub(crate) fn asked(mut self) -> Self {
        self.asked = true;
        self
    }

    /// Trouble of the way to the endpoint, or of this machine, that passes.
    pub(crate) fn later(detail: impl AsRef<str>) -> Self {
        Self::new(Class::Later { throttled: false }, detail)
    }
}
