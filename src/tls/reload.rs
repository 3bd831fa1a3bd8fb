//! TLS of a listener while it serves. Its certificate, key and client authorities may be replaced
//! on disk at any time (certbot, a mounted secret), and new handshakes use the new files. Existing
//! sessions continue.
//!
//! An invalid or partially written pair changes nothing and is logged once.
//! [`CertificateWatcher::refresh`] checks the files at once.

use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::{CertificateFiles, FileStamp, ServerCertificate};
use rustls::ServerConfig;

/// TLS configuration of one listener, reloaded when its files change.
#[derive(Debug)]
pub struct ReloadableTls {
    /// Name of the listener, for the log.
    name: String,
    files: CertificateFiles,
    current: RwLock<Arc<ServerConfig>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// State of the files from which `current` was read.
    stamp: FileStamp,
    /// Expiry of the current certificate, in seconds since 1970.
    end: Option<i64>,
    /// Last logged problem with the files; each is logged once.
    reported: Option<String>,
}

impl ReloadableTls {
    /// Creates the TLS configuration of the listener `name` from its certificate.
    ///
    /// # Errors
    ///
    /// The machine has no randomness; the certificate was checked before.
    pub fn new(name: &str, identity: &ServerCertificate) -> Result<Self, rustls::Error> {
        Ok(Self {
            name: name.to_owned(),
            files: identity.files.clone(),
            current: RwLock::new(Arc::new(identity.config()?)),
            state: Mutex::new(State {
                stamp: identity.stamp.clone(),
                end: identity.end(),
                reported: None,
            }),
        })
    }

    /// Returns the configuration for the next handshake.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.read().clone()
    }

    /// Name of the listener.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Path of the certificate file.
    pub fn certificate(&self) -> &Path {
        &self.files.certificate
    }

    /// Expiry of the certificate, in seconds since 1970.
    pub fn end(&self) -> Option<i64> {
        let state = self.state.lock();
        state.end
    }

    /// Whether clients must present certificates, which makes their handshakes larger.
    pub fn requires_client_certificates(&self) -> bool {
        self.files.client_ca.is_some()
    }

    /// Applies the files if they have changed. Reads them, which blocks.
    pub fn refresh(&self) -> Refresh {
        let mut state = self.state.lock();
        if self.files.stamp() == state.stamp {
            return Refresh::Unchanged;
        }
        let read = self.files.read().and_then(|identity| {
            let config = identity.config().map_err(|error| error.to_string())?;
            let end = identity.end();
            Ok((identity.stamp, end, config))
        });
        match read {
            Ok((stamp, end, config)) => {
                *self.current.write() = Arc::new(config);
                *state = State {
                    stamp,
                    end,
                    reported: None,
                };
                Refresh::Replaced
            }
            // The files are read again at the next check, since they may have been written
            // partially.
            Err(why) if state.reported.as_ref() != Some(&why) => {
                state.reported = Some(why.clone());
                Refresh::Rejected(why)
            }
            Err(_) => Refresh::Unchanged,
        }
    }

    fn log(&self, refreshed: Refresh) {
        match refreshed {
            Refresh::Unchanged => {}
            Refresh::Replaced => tracing::info!(
                listener = self.name,
                certificate = %self.files.certificate.display(),
                "certificate replaced"
            ),
            Refresh::Rejected(why) => tracing::warn!(
                listener = self.name,
                error = why,
                remedy = "put a certificate and the key that belongs to it there; until then the old ones are shown",
                "cannot take over the changed certificate"
            ),
        }
    }
}

/// Result of checking a listener's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refresh {
    /// The files have not changed.
    Unchanged,
    /// The files have changed; new handshakes use them.
    Replaced,
    /// The changed files cannot be used; the previous ones stay in use. Each reason is returned
    /// once.
    Rejected(String),
}

/// Checks the certificate files of all listeners.
#[derive(Debug, Clone, Default)]
pub struct CertificateWatcher(Arc<[Arc<ReloadableTls>]>);

impl FromIterator<Arc<ReloadableTls>> for CertificateWatcher {
    fn from_iter<I: IntoIterator<Item = Arc<ReloadableTls>>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

impl CertificateWatcher {
    /// Iterates over the listeners' TLS configurations.
    pub fn iter(&self) -> impl Iterator<Item = &ReloadableTls> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// Checks all files now, on a thread for blocking work.
    pub async fn refresh(&self) {
        for tls in self.0.iter() {
            let looked = tls.clone();
            if let Ok(refreshed) = tokio::task::spawn_blocking(move || looked.refresh()).await {
                tls.log(refreshed);
            }
        }
    }
}
