//! A listener with its TLS configuration.

use std::sync::Arc;

use crate::config::Listener;
use crate::tls::reload::ReloadableTls;

/// A listener with its TLS ready.
#[derive(Debug)]
pub struct ServedListener {
    /// The listener as it is configured.
    pub listener: Arc<Listener>,
    /// Replaced when its files change.
    pub tls: Option<Arc<ReloadableTls>>,
}

impl ServedListener {
    /// Makes the listener's TLS ready.
    pub fn new(listener: Arc<Listener>) -> Result<Self, rustls::Error> {
        let tls = match listener.tls.certificate() {
            Some(identity) => Some(Arc::new(ReloadableTls::new(&listener.name, identity)?)),
            None => None,
        };
        Ok(Self { listener, tls })
    }
}
