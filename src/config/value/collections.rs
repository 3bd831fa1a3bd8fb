//! Lists, sections whose names the operator chooses, headers, authorities.

use std::path::PathBuf;

use reqwest::header::HeaderValue;
use rustls_pki_types::CertificateDer;

use super::super::field::{Field, is_name};
use super::super::key::{Restriction, Value};
use super::super::kind::Kind;
use crate::secret::Secret;
use crate::tls;

/// Reads a list with at least one item; a single value counts as a list of one.
impl<T: Value> Value for Vec<T> {
    fn read(field: &Field) -> Option<Self> {
        Each::<T>::read(field)?.all()
    }

    fn kind() -> Kind {
        Each::<T>::kind()
    }
}

/// Restriction of a list that may be empty.
pub(in crate::config) struct AnyNumber;

impl<T: Value> Restriction<Vec<T>> for AnyNumber {
    fn read(&self, field: &Field) -> Option<Vec<T>> {
        Each::<T, 0>::read(field)?.all()
    }

    fn kind(&self) -> Kind {
        Each::<T, 0>::kind()
    }
}

/// A list of at least `LEAST` items, each with its position. Wrong items are `None`, so that the
/// others are still checked.
#[derive(Debug, Clone)]
pub(in crate::config) struct Each<T, const LEAST: usize = 1>(
    pub(in crate::config) Vec<(Field, Option<T>)>,
);

impl<T, const LEAST: usize> Each<T, LEAST> {
    /// Returns the items, if none is wrong.
    fn all(self) -> Option<Vec<T>> {
        self.0.into_iter().map(|(_, value)| value).collect()
    }
}

impl<T: Value, const LEAST: usize> Value for Each<T, LEAST> {
    fn read(field: &Field) -> Option<Self> {
        let items = field.list()?;
        if items.len() < LEAST {
            return field.reject(T::NONE);
        }
        let read = items.into_iter().map(|item| {
            let value = T::read(&item);
            (item, value)
        });
        Some(Self(read.collect()))
    }

    fn kind() -> Kind {
        T::kind().list(LEAST)
    }
}

/// Values with names chosen by the operator, each with its position.
#[derive(Debug, Clone)]
pub(in crate::config) struct Named<T>(pub(in crate::config) Vec<(String, Field, Option<T>)>);

impl<T: Value> Value for Named<T> {
    fn read(field: &Field) -> Option<Self> {
        let read = field.named()?.into_iter().map(|(name, field)| {
            let value = match is_name(&name) {
                true => T::read(&field),
                false => field.reject("a name has letters, digits, \".\", \"_\" and \"-\""),
            };
            (name, field, value)
        });
        Some(Self(read.collect()))
    }

    fn kind() -> Kind {
        T::kind().map()
    }
}

/// Headers of requests, by name; a value is one line (RFC 9110 §5.5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, Secret)>);

impl Headers {
    /// Values for requests, marked as sensitive.
    pub fn values(&self) -> impl Iterator<Item = (&str, HeaderValue)> {
        self.0.iter().filter_map(|(name, value)| {
            let mut value = HeaderValue::from_str(value.expose()).ok()?;
            value.set_sensitive(true);
            Some((name.as_str(), value))
        })
    }
}

impl Value for Headers {
    fn read(field: &Field) -> Option<Self> {
        let Named(items) = Named::<Secret>::read(field)?;
        let read = items.into_iter().map(|(name, field, value)| {
            let value = value?;
            let header = HeaderValue::from_str(value.expose());
            field.accept(header.map_err(|_| "must be one line without control characters"))?;
            Some((name, value))
        });
        let headers: Vec<_> = read.collect();
        headers.into_iter().collect::<Option<_>>().map(Self)
    }

    fn kind() -> Kind {
        Named::<Secret>::kind()
    }
}

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
