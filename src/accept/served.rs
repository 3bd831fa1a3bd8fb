//! A configured listener together with its TLS configuration.

use std::sync::Arc;

use crate::config::Listener;
use crate::tls::reload::ReloadableTls;

/// A listener and its reloadable TLS configuration.
#[derive(Debug)]
pub struct ServedListener {
    /// The listener's configuration.
    pub listener: Arc<Listener>,
    /// TLS configuration, replaced when the certificate files change. `None` without TLS.
    pub tls: Option<Arc<ReloadableTls>>,
}

impl ServedListener {
    /// Loads the listener's TLS configuration.
    pub fn new(listener: Arc<Listener>) -> Result<Self, rustls::Error> {
        let certificate = listener.tls.certificate();
        let tls = certificate.map(|identity| ReloadableTls::new(&listener.name, identity));
        let tls = tls.transpose()?.map(Arc::new);
        Ok(Self { listener, tls })
    }
}
