//! TLS of a listener while it serves. Its certificate, key and client authorities may be replaced
//! on disk at any time (certbot, a mounted secret), and new handshakes use the new files. Existing
//! sessions continue.
//!
//! An invalid or partially written pair changes nothing and is logged once.
//! [`refresh`] checks the files at once.

use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::{CertificateFiles, FileStamps, ServerCertificate};
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
    stamps: FileStamps,
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
                stamps: identity.stamps.clone(),
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
        self.state.lock().end
    }

    /// Whether clients must present certificates, which makes their handshakes larger.
    pub fn requires_client_certificates(&self) -> bool {
        self.files.client_ca.is_some()
    }

    /// Applies the files if they have changed. Reads them, which blocks. `None`: nothing has changed
    /// since they were last applied or the last reason was returned.
    ///
    /// # Errors
    ///
    /// The reason why the changed files cannot be used; the previous ones stay in use.
    fn refresh(&self) -> Option<Result<(), String>> {
        let mut state = self.state.lock();
        if self.files.stamps() == state.stamps {
            return None;
        }
        let read = self.files.read().and_then(|identity| {
            let config = identity.config().map_err(|error| error.to_string())?;
            Ok((identity, config))
        });
        match read {
            Ok((identity, config)) => {
                *self.current.write() = Arc::new(config);
                *state = State {
                    end: identity.end(),
                    stamps: identity.stamps,
                    reported: None,
                };
                Some(Ok(()))
            }
            // The files are read again at the next check, since they may have been written
            // partially.
            Err(why) if state.reported.as_ref() != Some(&why) => {
                state.reported = Some(why.clone());
                Some(Err(why))
            }
            Err(_) => None,
        }
    }
}

/// Applies the files of all these listeners that have changed, on a thread for blocking work.
pub async fn refresh(all: &[Arc<ReloadableTls>]) {
    for tls in all {
        let looked = tls.clone();
        let refreshed = tokio::task::spawn_blocking(move || looked.refresh()).await;
        let (listener, certificate) = (&tls.name, tls.files.certificate.display());
        match refreshed.ok().flatten() {
            None => {}
            Some(Ok(())) => tracing::info!(listener, %certificate, "certificate replaced"),
            Some(Err(error)) => tracing::warn!(
                listener,
                error,
                remedy = "put a certificate and the key that belongs to it there; until then the old ones are shown",
                "cannot take over the changed certificate"
            ),
        }
    }
}
