//! Lists, and sections whose names the operator chooses.

use super::super::field::{Field, is_name};
use super::super::key::Value;
use super::super::kind::Kind;

/// Reads a list with at least one item; a single value counts as a list of one.
impl<T: Value> Value for Vec<T> {
    fn read(field: &Field) -> Option<Self> {
        let items = field.list()?;
        if items.is_empty() {
            return field.reject(T::NONE);
        }
        // All items are read before errors count.
        let read: Vec<_> = items.iter().map(T::read).collect();
        read.into_iter().collect()
    }

    fn kind() -> Kind {
        T::kind().list(1)
    }
}

/// A list that may be empty.
#[derive(Debug, Clone)]
pub(in crate::config) struct AnyNumber<T>(pub(in crate::config) Vec<T>);

impl<T: Value> Value for AnyNumber<T> {
    fn read(field: &Field) -> Option<Self> {
        let items = field.list()?;
        let read: Vec<_> = items.iter().map(T::read).collect();
        read.into_iter().collect::<Option<_>>().map(Self)
    }

    fn kind() -> Kind {
        T::kind().list(0)
    }
}

/// A list that may be empty, each item with its position, as in [`Each`].
#[derive(Debug, Clone)]
pub(in crate::config) struct EachOfAny<T>(pub(in crate::config) Vec<(Field, Option<T>)>);

impl<T: Value> Value for EachOfAny<T> {
    fn read(field: &Field) -> Option<Self> {
        match field.list()? {
            items if items.is_empty() => Some(Self(Vec::new())),
            _ => Each::read(field).map(|Each(items)| Self(items)),
        }
    }

    fn kind() -> Kind {
        T::kind().list(0)
    }
}

/// A list with at least one item, each with its position. Wrong items are `None`, so that the
/// others are still checked.
#[derive(Debug, Clone)]
pub(in crate::config) struct Each<T>(pub(in crate::config) Vec<(Field, Option<T>)>);

impl<T: Value> Value for Each<T> {
    fn read(field: &Field) -> Option<Self> {
        let items = field.list()?;
        if items.is_empty() {
            return field.reject(T::NONE);
        }
        let read = items.into_iter().map(|item| {
            let value = T::read(&item);
            (item, value)
        });
        Some(Self(read.collect()))
    }

    fn kind() -> Kind {
        T::kind().list(1)
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
