//! Settings of `notify` and `reload`.

use std::path::PathBuf;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use url::Url;

use super::key::words;
use crate::secret::Secret;

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

impl NotifyEvent {
    /// Name of the event in `proxy.yaml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Credential => "credential",
            Self::Upstream => "upstream",
            Self::Audit => "audit",
            Self::Store => "store",
            Self::Reload => "reload",
        }
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
    Command {
        /// Program, run without a shell.
        program: PathBuf,
        /// Arguments, passed unchanged.
        arguments: Vec<String>,
    },
    /// A URL to which the same object is POSTed.
    Url {
        /// URL of the request: https, or http to loopback.
        url: Url,
        /// Headers of the request, by name.
        headers: Vec<(String, Secret)>,
        /// Authorities trusted in addition to the public roots.
        authorities: Vec<CertificateDer<'static>>,
    },
}
