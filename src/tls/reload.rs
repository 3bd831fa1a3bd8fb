//! The TLS of a listener while it serves: its certificate, key and the authorities of clients may
//! be replaced on disk at any time (certbot, a mounted secret), and new handshakes follow.
//! Sessions that are there go on as they began.
//!
//! A pair that is bad or half written changes nothing and is told once. Whoever wants files to be
//! looked at now rather than soon calls [`CertificateWatcher::refresh`].

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::{CertificateFiles, FileStamp, ServerCertificate};
use rustls::ServerConfig;

/// What one listener shows.
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
    /// What the files were when `current` was read.
    stamp: FileStamp,
    /// Where the validity of the certificate ends that was read.
    end: Option<i64>,
    /// What was told of files that are no good.
    told: Option<String>,
}

impl ReloadableTls {
    /// As the configuration has it; `name` is the listener's.
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

    /// For the next handshake.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The listener's name.
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
            // Looked at again next time: it may have been written by halves.
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

/// What came of looking at a listener's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refresh {
    /// Nothing new.
    Unchanged,
    /// New handshakes get what they hold now.
    Replaced,
    /// They are no good, for this reason, which is given once: the old ones stay.
    Rejected(String),
}

/// All that the listeners show.
#[derive(Debug, Clone, Default)]
pub struct CertificateWatcher(Arc<[Arc<ReloadableTls>]>);

impl FromIterator<Arc<ReloadableTls>> for CertificateWatcher {
    fn from_iter<I: IntoIterator<Item = Arc<ReloadableTls>>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

impl CertificateWatcher {
    /// What each listener shows.
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
