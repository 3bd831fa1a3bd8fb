//! Declaration of keys by `section!` and `words!`, and the traits of values.
//!
//! A `section!` declares each key once: its kind, range, default and meaning, and the struct into
//! which it is read. Reading, the JSON Schema and the README's reference tables are derived from
//! it.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use super::field::{Field, Section};
use super::kind::{Kind, Requirement, Row};

/// Type into which a value of the file is read.
pub(super) trait Value: Sized {
    /// Problem to report for an empty list of these values.
    const NONE: &'static str = "must not be an empty list";

    /// Reads the value. `None` if it is wrong, which was reported.
    fn read(field: &Field) -> Option<Self>;

    /// Kind of the value, for the reference and the schema.
    fn kind() -> Kind;
}

/// A value that is written as one text, not empty and without control characters.
pub(super) trait Text: Sized {
    /// Name of the kind in the reference.
    const KIND: &'static str;

    /// Problem to report for an empty list of these values.
    const NONE: &'static str = "must not be an empty list";

    /// Parses the text; the error is the problem to report.
    fn parse(text: &str) -> Result<Self, Cow<'static, str>>;
}

impl<T: Text> Value for T {
    const NONE: &'static str = <T as Text>::NONE;

    fn read(field: &Field) -> Option<Self> {
        field.accept(T::parse(field.word()?))
    }

    fn kind() -> Kind {
        Kind::text(T::KIND)
    }
}

/// A value with a minimum and a maximum.
pub(super) trait Ranged: Value {
    /// Reads as [`Value::read`] does, within `range`.
    fn read_within(field: &Field, range: &RangeInclusive<Self>) -> Option<Self>;

    /// Kind of the value as [`Value::kind`] returns it, within `range`.
    fn kind_within(range: &RangeInclusive<Self>) -> Kind;
}

/// A key that is available even if others of its section are wrong, so that contradictions between
/// keys are still found.
#[derive(Debug, Clone)]
pub(super) enum Key<T> {
    /// The file does not contain the key.
    Absent,
    /// The value is wrong or missing, which was reported.
    Broken,
    /// The value is valid.
    Given(T),
}

impl<T> Key<T> {
    pub(super) fn given(&self) -> Option<&T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Broken => None,
        }
    }

    /// Returns the value of a required key; `None` if it is wrong.
    pub(super) fn required(self) -> Option<T> {
        self.optional()?
    }

    /// Returns the value, or `absent` if the key is absent; `None` if it is wrong.
    pub(super) fn or(self, absent: T) -> Option<T> {
        Some(self.optional()?.unwrap_or(absent))
    }

    /// Returns `Some(None)` if the key is absent; `None` if it is wrong, or `convert` rejects it.
    pub(super) fn convert<U>(self, convert: impl FnOnce(T) -> Option<U>) -> Option<Option<U>> {
        match self.optional()? {
            Some(value) => convert(value).map(Some),
            None => Some(None),
        }
    }

    /// Returns `Some(None)` if the key is absent; `None` if it is wrong.
    pub(super) fn optional(self) -> Option<Option<T>> {
        match self {
            Self::Given(value) => Some(Some(value)),
            Self::Absent => Some(None),
            Self::Broken => None,
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// Type of a struct's field for the value of a key.
pub(super) trait Slot: Sized {
    type Of: Value;

    /// Converts the key. `None` if the section as a whole is then wrong.
    fn from_key(key: Key<Self::Of>) -> Option<Self>;
}

impl<T: Value> Slot for T {
    type Of = T;

    fn from_key(key: Key<T>) -> Option<Self> {
        key.required()
    }
}

impl<T: Value> Slot for Option<T> {
    type Of = T;

    fn from_key(key: Key<T>) -> Option<Self> {
        key.optional()
    }
}

impl<T: Value> Slot for Key<T> {
    type Of = T;

    fn from_key(key: Self) -> Option<Self> {
        Some(key)
    }
}

/// Reads a key of a section. A wrong key with a default counts as its default, so that the rest of
/// the section is checked too.
pub(super) fn take<S: Slot>(
    section: &Section,
    row: &'static Row,
    read: impl Fn(&Field) -> Option<S::Of>,
) -> Option<S> {
    let default = || match row.presence {
        Requirement::Default(text, _) => section.default(row.key, text).as_ref().and_then(&read),
        _ => None,
    };
    let key = match section.take(row.key) {
        Some(field) => match read(&field).or_else(default) {
            Some(value) => Key::Given(value),
            None => Key::Broken,
        },
        None => match (row.presence, default()) {
            (_, Some(value)) => Key::Given(value),
            (Requirement::Required(what), None) => {
                section.field.missing(row.key, what);
                Key::Broken
            }
            (_, None) => Key::Absent,
        },
    };
    S::from_key(key)
}

/// Declares a section: `key: Type` (optional if the type is an `Option` or a [`Key`]), then
/// `[least..=greatest]`, then `= "default"` (YAML) or `=> "what to write"` (required), then
/// `: "meaning of its absence"`. Doc comments are the meanings in the reference. The keys of
/// `struct Keys for Type` are read into a `Type` by `Keys::build(self, &Field) -> Option<Type>`.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $(#[derive($($derive:path),*)])?
        $vis:vis struct $name:ident $(for $built:ty)? {
            $(
                $(#[doc = $doc:literal])*
                $field_vis:vis $key:ident: $slot:ty $([$range:expr])?
                    $(= $default:literal)? $(=> $what:literal)? $(: $computed:literal)?,
            )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone)]
        $(#[derive($($derive),*)])?
        $vis struct $name {
            $($(#[doc = $doc])* $field_vis $key: $slot,)*
        }

        section!(@value $name $(, $built)?);

        impl $name {
            fn read_keys(field: &$crate::config::field::Field) -> Option<Self> {
                let section = field.section(&Self::TABLE)?;
                let mut rows = Self::TABLE.rows.iter();
                $(let $key = rows.next().and_then(|row| {
                    $crate::config::key::take::<$slot>(
                        &section,
                        row,
                        |field| section!(@read field, $slot $(, $range)?),
                    )
                });)*
                Some(Self { $($key: $key?,)* })
            }

            const TABLE: $crate::config::kind::Table = $crate::config::kind::Table {
                rows: &[$($crate::config::kind::Row {
                    key: stringify!($key),
                    meaning: &[$($doc),*],
                    presence: section!(@presence $(= $default)? $(=> $what)? $(: $computed)?),
                    kind: || section!(@kind $slot $(, $range)?),
                },)*],
            };
        }
    };
    (@value $keys:ty) => {
        impl $crate::config::key::Value for $keys {
            fn read(field: &$crate::config::field::Field) -> Option<Self> {
                Self::read_keys(field)
            }

            fn kind() -> $crate::config::kind::Kind {
                $crate::config::kind::Kind::section(&Self::TABLE)
            }
        }
    };
    (@value $keys:ty, $built:ty) => {
        impl $crate::config::key::Value for $built {
            fn read(field: &$crate::config::field::Field) -> Option<Self> {
                <$keys>::read_keys(field)?.build(field)
            }

            fn kind() -> $crate::config::kind::Kind {
                $crate::config::kind::Kind::section(&<$keys>::TABLE)
            }
        }
    };
    (@read $field:ident, $slot:ty) => {
        <<$slot as $crate::config::key::Slot>::Of as $crate::config::key::Value>::read($field)
    };
    (@read $field:ident, $slot:ty, $range:expr) => {
        <<$slot as $crate::config::key::Slot>::Of as $crate::config::key::Ranged>::read_within(
            $field,
            &$range,
        )
    };
    (@kind $slot:ty) => {
        <<$slot as $crate::config::key::Slot>::Of as $crate::config::key::Value>::kind()
    };
    (@kind $slot:ty, $range:expr) => {
        <<$slot as $crate::config::key::Slot>::Of as $crate::config::key::Ranged>::kind_within(
            &$range,
        )
    };
    (@presence) => { $crate::config::kind::Requirement::Optional };
    (@presence = $default:literal) => { $crate::config::kind::Requirement::Default($default, None) };
    (@presence = $default:literal : $shown:literal) => {
        $crate::config::kind::Requirement::Default($default, Some($shown))
    };
    (@presence : $computed:literal) => { $crate::config::kind::Requirement::Computed($computed) };
    (@presence => $what:literal) => { $crate::config::kind::Requirement::Required($what) };
}
pub(super) use section;

/// Declares an enumeration with a word for each variant, or the words of an existing one.
macro_rules! words {
    (
        $(#[doc = $about:literal])*
        $vis:vis enum $name:ident {
            $($(#[doc = $doc:literal])* $variant:ident = $word:literal,)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $name {
            $($(#[doc = $doc])* $variant,)*
        }

        impl $name {
            /// Word of the variant in `proxy.yaml`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        words! { impl $name { $($variant = Self::$variant.name(),)* } }
    };
    (impl $name:ident { $($variant:ident = $word:expr,)* } $($none:literal)?) => {
        impl $crate::config::key::Value for $name {
            $(const NONE: &'static str = $none;)?

            fn read(field: &$crate::config::field::Field) -> Option<Self> {
                field.one_of(&[$(($word, Self::$variant)),*])
            }

            fn kind() -> $crate::config::kind::Kind {
                $crate::config::kind::Kind::words(&[$($word),*])
            }
        }
    };
}
pub(super) use words;
