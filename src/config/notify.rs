//! `notify` and `reload`.

use std::path::PathBuf;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use url::Url;

use super::key::words;
use crate::secret::Secret;

words! {
    /// `reload`: what makes the file be read again.
    pub enum ReloadMode {
        /// SIGHUP, and whoever asks for it.
        Signal = "signal",
        /// A changed content of its files, besides.
        Watch = "watch",
    }
}

words! {
    /// Event for which a hook is called, from `notify[].events`.
    pub enum NotifyEvent {
        /// A consent is needed or refused for now; it is given.
        Consent = "consent",
        /// A client secret or certificate is refused, or ends soon; it is accepted or replaced.
        Credential = "credential",
        /// The mail service refuses fresh tokens or cannot be reached; a login succeeds.
        Upstream = "upstream",
        /// Audit records cannot be written; they can.
        Audit = "audit",
        /// The shared store is away; it is back.
        Store = "store",
        /// A file is refused at a reload; one is taken.
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
    /// Target that is called for each alert.
    pub target: HookTarget,
    /// Longest time that a try may take.
    pub timeout: Duration,
}

/// Way in which a hook is called.
#[derive(Debug, Clone)]
pub enum HookTarget {
    /// A program, by one JSON object on its stdin.
    Command {
        /// Program that is run, without a shell.
        program: PathBuf,
        /// Arguments of the program, each passed as it is.
        arguments: Vec<String>,
    },
    /// A POST of the same object.
    Url {
        /// https, or http to loopback.
        url: Url,
        /// Headers of the request, by name.
        headers: Vec<(String, Secret)>,
        /// Trusted besides the public roots.
        authorities: Vec<CertificateDer<'static>>,
    },
}
