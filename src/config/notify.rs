//! Reads `notify` and `reload`.

use std::time::Duration;

use url::Url;

use super::field::Field;
use super::key::{Key, section, words};
use super::value::{Certificates, Headers, Program};

section! {
    /// `notify[]`.
    struct NotifyKeys for Hook {
        /// Events that are sent
        events: Vec<NotifyEvent> => "some of consent, credential, upstream, audit, store and reload",
        /// Program that gets one JSON object on stdin
        command: Key<Program>: "or `url`",
        /// URL to which the same JSON is POSTed: https, or http to loopback
        url: Key<Url>: "or `command`",
        /// With `url`: headers of the request
        headers: Key<Headers> = "{}": "none",
        /// With `url`: PEM files of authorities trusted besides the public roots
        ca: Key<Certificates> = "[]": "none",
        /// Longest time for one attempt
        timeout: Duration[Duration::from_millis(100)..=Duration::from_secs(60)] = "10s",
    }
}

/// Entry of `notify`: a hook and its events.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Events for which the hook is called.
    pub events: Vec<NotifyEvent>,
    /// Destination of the alerts.
    pub target: HookTarget,
    /// Longest duration of one attempt.
    pub timeout: Duration,
}

/// Program or URL that a hook calls.
#[derive(Debug, Clone)]
pub enum HookTarget {
    /// A program that gets one JSON object on stdin.
    Command(Program),
    /// A URL to which the same object is POSTed.
    Url {
        /// URL of the request: https, or http to loopback.
        url: Url,
        /// Headers of the request, by name.
        headers: Headers,
        /// Authorities trusted in addition to the public roots.
        ca: Certificates,
    },
}

impl NotifyKeys {
    fn build(self, field: &Field) -> Option<Hook> {
        let target = match (self.command, self.url) {
            (Key::Absent, Key::Absent) => return field.reject("must have command or url"),
            (Key::Given(_), Key::Given(_)) => {
                return field.reject("has both command and url; write two entries");
            }
            (Key::Given(command), Key::Absent) => {
                for key in ["headers", "ca"] {
                    field.reject_key(key, "has no effect without url; remove it");
                }
                HookTarget::Command(command)
            }
            (Key::Absent, Key::Given(url)) => HookTarget::Url {
                url,
                headers: self.headers.required()?,
                ca: self.ca.required()?,
            },
            _ => return None,
        };
        Some(Hook {
            events: self.events,
            target,
            timeout: self.timeout,
        })
    }
}

words! {
    /// Event that reloads the file, from `reload`.
    pub enum ReloadMode {
        /// SIGHUP, or a request by an administrator.
        Signal = "signal",
        /// In addition, changed content of the configuration's files.
        Watch = "watch",
    }
}

words! {
    /// Event for which a hook is called, from `notify[].events`.
    pub enum NotifyEvent {
        /// A consent is needed or temporarily refused; ends when it is given.
        Consent = "consent",
        /// A client secret or certificate is refused or expires soon; ends when it is accepted or
        /// replaced.
        Credential = "credential",
        /// The mail service refuses fresh tokens or cannot be reached; ends with a successful
        /// login.
        Upstream = "upstream",
        /// Audit records cannot be written; ends when they can.
        Audit = "audit",
        /// The shared store is unreachable; ends when it is back.
        Store = "store",
        /// A reload was refused; ends with a successful one.
        Reload = "reload",
    }
}
