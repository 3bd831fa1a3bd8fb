//! Failures of token requests. The class of a failure determines the pause, the stored record, the
//! metric, the log and the reply.

use std::borrow::Cow;
use std::time::Duration;

use crate::fault::{Fault, Kind};

/// Classes of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Temporary: the endpoint or the network fails, or the endpoint throttles.
    Later {
        /// Whether the endpoint throttles.
        throttled: bool,
    },
    /// Refused until an administrator acts (a policy, a secret, a user). A consent stays stored,
    /// and works again afterwards.
    Attention,
    /// No consent was given, or it has ended for good. Only a new one helps.
    Ended,
    /// The client presented a wrong password.
    Client,
    /// The state directory or this machine fails.
    Ours,
}

/// First and longest pause after failures.
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
    /// Kind of fault, which determines the reply.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Later { .. } => Kind::Unavailable,
            Self::Attention | Self::Ended => Kind::GrantRefused,
            Self::Client => Kind::Credentials,
            Self::Ours => Kind::Internal,
        }
    }

    /// Pauses during which no request is sent. A refused consent is retried seldom, since its user
    /// takes hours to act; an administrator's correction for an application takes minutes.
    pub(super) fn pauses(self, consent: bool) -> Pauses {
        match self {
            Self::Later { .. } => pauses(1, 300),
            Self::Attention if consent => pauses(10, 3600),
            Self::Attention | Self::Ended | Self::Client => pauses(10, 300),
            // No server is asked, so an early retry costs nothing.
            Self::Ours => pauses(1, 10),
        }
    }

    /// Value of `outcome` in the metrics, if an endpoint was asked.
    pub(super) fn outcome(self) -> &'static str {
        match self {
            Self::Later { throttled: true } => "throttled",
            Self::Later { throttled: false } | Self::Ours => "unavailable",
            Self::Attention | Self::Ended | Self::Client => "refused",
        }
    }
}

/// A failed token request.
#[derive(Debug, Clone)]
pub(crate) struct TokenError {
    /// Class of the failure.
    pub(crate) class: Class,
    /// Fault for client and log, of the class's kind.
    pub(crate) fault: Fault,
    /// Time from the header Retry-After, at most an hour.
    pub(crate) retry_after: Option<Duration>,
    /// Whether an endpoint was asked.
    pub(crate) asked: bool,
    /// Whether other relays or their store are the reason: an early retry costs nothing then.
    pub(crate) is_brief: bool,
}

impl From<TokenError> for Fault {
    fn from(failure: TokenError) -> Self {
        failure.fault
    }
}

impl TokenError {
    /// Creates a failure without a request to an endpoint.
    pub(crate) fn new(class: Class, detail: impl AsRef<str>) -> Self {
        Self {
            class,
            fault: Fault::new(class.kind(), detail),
            retry_after: None,
            asked: false,
            is_brief: false,
        }
    }

    /// Creates a failure whose reason is another relay or the shared store.
    pub(crate) fn brief(detail: impl AsRef<str>) -> Self {
        Self {
            is_brief: true,
            ..Self::later(detail)
        }
    }

    /// Sets the remedy for the operator.
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

    /// Creates a temporary failure of the network or this machine.
    pub(crate) fn later(detail: impl AsRef<str>) -> Self {
        Self::new(Class::Later { throttled: false }, detail)
    }
}
