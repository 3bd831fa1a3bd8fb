//! The TLS of a listener while it serves: its certificate, key and the authorities of clients may
//! be replaced on disk at any time (certbot, a mounted secret), and new handshakes follow.
//! Sessions that are there go on as they began.
//!
//! A pair that is bad or partially written changes nothing and is logged once. Whoever wants files
//! to be looked at now rather than soon calls [`CertificateWatcher::refresh`].

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::{CertificateFiles, FileStamp, ServerCertificate};
use rustls::ServerConfig;

/// TLS configuration of one listener, reloaded when its files change.
#[derive(Debug)]
pub struct ReloadableTls {
    /// The listener's name, for the log.
    name: String,
    files: CertificateFiles,
    current: RwLock<Arc<ServerConfig>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// State of the files when `current` was read.
    stamp: FileStamp,
    /// Where the validity of the certificate ends that was read.
    end: Option<i64>,
    /// Last logged problem with the files, so that each is logged once.
    told: Option<String>,
}

impl ReloadableTls {
    /// Creates it from the certificate of the configuration; `name` is the listener's.
    ///
    /// # Errors
    ///
    /// Where the machine has no randomness; the identity was found good before.
    pub fn new(name: &str, identity: &ServerCertificate) -> Result<Self, rustls::Error> {
        Ok(Self {
            name: name.to_owned(),
            files: identity.files.clone(),
            current: RwLock::new(Arc::new(identity.config()?)),
            state: Mutex::new(State {
                stamp: identity.stamp.clone(),
                end: identity.end(),
                told: None,
            }),
        })
    }

    /// Gives the configuration for the next handshake.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Name of the listener that uses it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the certificate is read from.
    pub fn certificate(&self) -> &Path {
        &self.files.certificate
    }

    /// Where the certificate's validity ends, in seconds since 1970.
    pub fn end(&self) -> Option<i64> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.end
    }

    /// Whether clients show certificates, so that their handshakes are larger.
    pub fn requires_client_certificates(&self) -> bool {
        self.files.client_ca.is_some()
    }

    /// Takes over what the files hold if they have changed. Reads them, so that it blocks.
    pub fn refresh(&self) -> Refresh {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
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
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                *state = State {
                    stamp,
                    end,
                    told: None,
                };
                Refresh::Replaced
            }
            // Looked at again next time: it may have been written partially.
            Err(why) if state.told.as_ref() != Some(&why) => {
                state.told = Some(why.clone());
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
    /// New handshakes get what they hold now.
    Replaced,
    /// The files cannot be used, for this reason, which is given once: the old ones stay.
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

    /// Looks at every file now, off the threads that serve.
    pub async fn refresh(&self) {
        for tls in self.0.iter() {
            let looked = tls.clone();
            if let Ok(refreshed) = tokio::task::spawn_blocking(move || looked.refresh()).await {
                tls.log(refreshed);
            }
        }
    }
}
