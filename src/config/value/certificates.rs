//! Authorities in PEM files.

use std::path::PathBuf;

use rustls_pki_types::CertificateDer;

use super::super::field::Field;
use super::super::key::Value;
use super::super::kind::Kind;
use crate::tls;

/// Certificates of PEM files; empty if sources are not read.
#[derive(Debug, Clone)]
pub(in crate::config) struct Certificates(pub(in crate::config) Vec<CertificateDer<'static>>);

impl Value for Certificates {
    fn read(field: &Field) -> Option<Self> {
        let mut all = Vec::new();
        for item in field.list()? {
            let path = PathBuf::read(&item)?;
            if !field.sources().are_read() {
                continue;
            }
            field.sources().note(&path);
            match tls::certificates(&path) {
                Ok(certificates) => all.extend(certificates),
                Err(why) => return item.reject(why),
            }
        }
        match tls::client(&all) {
            Ok(_) => Some(Self(all)),
            Err(error) => field.reject(format_args!("cannot be used as an authority: {error}")),
        }
    }

    fn kind() -> Kind {
        Kind::text("path").list(0)
    }
}
