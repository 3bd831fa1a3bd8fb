//! Authorities in PEM files.

use std::path::PathBuf;

use rustls_pki_types::CertificateDer;

use super::super::field::Field;
use super::super::key::Value;
use super::super::kind::Kind;
use crate::tls;

/// Authorities that are trusted in addition to the public roots; empty if sources are not read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificates(pub Vec<CertificateDer<'static>>);

impl Value for Certificates {
    fn read(field: &Field) -> Option<Self> {
        let mut all = Vec::new();
        for item in field.list()? {
            let path = PathBuf::read(&item)?;
            if !field.sources().are_read() {
                continue;
            }
            field.sources().note(&path);
            all.extend(item.accept(tls::certificates(&path))?);
        }
        let client = tls::client(&all);
        field.accept(client.map_err(|error| format!("cannot be used as an authority: {error}")))?;
        Some(Self(all))
    }

    fn kind() -> Kind {
        Kind::text("path").list(0)
    }
}
