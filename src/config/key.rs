//! Declaration of keys by `section!` and `words!`, and the traits of values.
//!
//! A `section!` declares each key once: its kind, range, default and meaning, and the struct into
//! which it is read. Reading, the JSON Schema and the README's reference tables are derived from
//! it.

use std::borrow::Cow;

use super::field::Field;
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

/// Restriction of a key's value, in brackets after its type: a range, a form of text, a length.
pub(super) trait Restriction<T> {
    /// Reads as [`Value::read`] does.
    fn read(&self, field: &Field) -> Option<T>;

    /// Kind of the value, as [`Value::kind`] returns it.
    fn kind(&self) -> Kind;
}

/// Restriction of a key without brackets: every value of its type is allowed.
pub(super) struct Unrestricted;

impl<T: Value> Restriction<T> for Unrestricted {
    fn read(&self, field: &Field) -> Option<T> {
        T::read(field)
    }

    fn kind(&self) -> Kind {
        T::kind()
    }
}

/// Form of a value that is written as one text, for types with several forms.
pub(super) struct Form<T> {
    /// Name of the kind in the reference.
    pub(super) kind: &'static str,
    /// Parses the text; the error is the problem to report.
    pub(super) parse: fn(&str) -> Result<T, Cow<'static, str>>,
}

impl<T> Restriction<T> for Form<T> {
    fn read(&self, field: &Field) -> Option<T> {
        field.accept((self.parse)(field.word()?))
    }

    fn kind(&self) -> Kind {
        Kind::text(self.kind)
    }
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

    /// Returns the value of the key `name`, which other keys require; reports its absence.
    pub(super) fn needed(self, field: &Field, name: &str, what: &str) -> Option<T> {
        if self.is_absent() {
            field.missing(name, what);
        }
        self.required()
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

    /// Takes the key out, for one that [`section!`] reads as another type.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Absent)
    }

    /// Gives an absent key its default, if what that depends on is valid.
    pub(super) fn default_from(&mut self, default: impl FnOnce() -> Option<T>) {
        if self.is_absent() {
            *self = default().map_or(Self::Broken, Self::Given);
        }
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
    section: &Field,
    row: &'static Row,
    restriction: &impl Restriction<S::Of>,
) -> Option<S> {
    let default = || match row.presence {
        Requirement::Default(text, _) => restriction.read(&section.default(row.key, text)?),
        _ => None,
    };
    let key = match section.get(row.key) {
        Some(field) => match restriction.read(&field).or_else(default) {
            Some(value) => Key::Given(value),
            None => Key::Broken,
        },
        None => match (row.presence, default()) {
            (_, Some(value)) => Key::Given(value),
            (Requirement::Required(what), None) => {
                section.missing(row.key, what);
                Key::Broken
            }
            (_, None) => Key::Absent,
        },
    };
    S::from_key(key)
}

/// Returns the kind of a key.
pub(super) fn kind_of<S: Slot>(restriction: &impl Restriction<S::Of>) -> Kind {
    restriction.kind()
}

/// Declares a section: `key: Type` (optional if the type is an `Option` or a [`Key`]), then
/// `[restriction]`, then `= "default"` (YAML) or `=> "what to write"` (required), then
/// `: "meaning of its absence"`. Doc comments are the meanings in the reference.
///
/// - `struct Type { … }` is read as it is declared.
/// - `struct Keys for Type { … }` is read, and turned into a `Type` by
///   `Keys::build(self, &Field) -> Option<Type>`.
/// - `struct Type from Keys { … }` declares both: `Keys` has each key as a [`Key`], so that
///   defaults that depend on other keys can be set and contradictions reported, and
///   `Keys::finish` turns it into the `Type`. `finish` takes the keys that are read as another type
///   (`key: Type as Read`) as arguments. Keys in `keys { … }`, between two blocks of others, are in
///   `Keys` only. Fields in `with { … }` are no keys; they begin empty, or are arguments of `finish`
///   too (`field: Type as given`).
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $(#[derive($($derive:path),*)])?
        $vis:vis struct $name:ident $(for $built:ty)? {
            $(
                $(#[doc = $doc:literal])*
                $key_vis:vis $key:ident: $slot:ty $([$restriction:expr])?
                    $(= $default:literal)? $(=> $what:literal)? $(: $computed:literal)?,
            )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone)]
        $(#[derive($($derive),*)])?
        $vis struct $name {
            $($(#[doc = $doc])* $key_vis $key: $slot,)*
        }

        impl $crate::config::key::Value for section!(@built $name $(, $built)?) {
            fn read(field: &$crate::config::field::Field) -> Option<Self> {
                field.check_keys(&$name::TABLE)?;
                let mut rows = $name::TABLE.rows.iter();
                $(let $key = rows.next().and_then(|row| {
                    $crate::config::key::take::<$slot>(
                        field, row, &section!(@restriction $($restriction)?),
                    )
                });)*
                let keys = $name { $($key: $key?,)* };
                section!(@build keys, field $(, $built)?)
            }

            fn kind() -> $crate::config::kind::Kind {
                $crate::config::kind::Kind::section(&$name::TABLE)
            }
        }

        impl $name {
            const TABLE: $crate::config::kind::Table = $crate::config::kind::Table {
                rows: &[$($crate::config::kind::Row {
                    key: stringify!($key),
                    meaning: &[$($doc),*],
                    presence: section!(@presence $(= $default)? $(=> $what)? $(: $computed)?),
                    kind: || $crate::config::key::kind_of::<$slot>(
                        &section!(@restriction $($restriction)?),
                    ),
                },)*],
            };
        }
    };
    (
        $(#[doc = $about:literal])*
        $(#[derive($($derive:path),*)])?
        $vis:vis struct $name:ident from $keys:ident
        $({
            $(
                $(#[doc = $doc:literal])*
                $key_vis:vis $key:ident: $slot:ty $(as $read:ty)? $([$restriction:expr])?
                    $(= $default:literal)? $(=> $what:literal)? $(: $computed:literal)?,
            )*
        }
        $(keys {
            $(
                $(#[doc = $only_doc:literal])*
                $only:ident: $only_type:ty $([$only_restriction:expr])?
                    $(= $only_default:literal)? $(: $only_computed:literal)?,
            )*
        })?)+
        $(with {
            $(
                $(#[doc = $other_doc:literal])*
                $other_vis:vis $other:ident: $other_type:ty $(as $given:ident)?,
            )*
        })?
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone)]
        $(#[derive($($derive),*)])?
        $vis struct $name {
            $($($(#[doc = $doc])* $key_vis $key: $slot,)*)+
            $($($(#[doc = $other_doc])* $other_vis $other: $other_type,)*)?
        }

        section! {
            /// The keys, each of which may be absent or wrong.
            pub(super) struct $keys {
                $($(
                    $(#[doc = $doc])*
                    pub(super) $key: $crate::config::key::Key<section!(
                        @first $($read,)? <$slot as $crate::config::key::Slot>::Of
                    )> $([$restriction])? $(= $default)? $(=> $what)? $(: $computed)?,
                )*
                $($(
                    $(#[doc = $only_doc])*
                    pub(super) $only: $crate::config::key::Key<$only_type>
                        $([$only_restriction])? $(= $only_default)? $(: $only_computed)?,
                )*)?)+
            }
        }

        impl $keys {
            /// Returns the section, or `None` if a key is wrong or a required one absent.
            pub(super) fn finish(
                self,
                $($($($key: section!(@first $slot, $read),)?)*)+
                $($($($other: section!(@given $other_type, $given),)?)*)?
            ) -> Option<$name> {
                Some($name {
                    $($($key: section!(@finish self, $key $(, $read)?),)*)+
                    $($($other: section!(@other $($other, $given)?),)*)?
                })
            }
        }
    };
    (@built $name:ty $(, $built:ty)?) => { section!(@first $($built,)? $name) };
    (@build $keys:ident, $field:ident) => { Some($keys) };
    (@build $keys:ident, $field:ident, $built:ty) => { $keys.build($field) };
    (@first $first:ty $(, $other:ty)?) => { $first };
    (@finish $keys:ident, $key:ident) => {
        $crate::config::key::Slot::from_key($keys.$key)?
    };
    (@finish $keys:ident, $key:ident, $read:ty) => { $key };
    (@given $type:ty, given) => { $type };
    (@other) => { Default::default() };
    (@other $other:ident, given) => { $other };
    (@restriction) => { $crate::config::key::Unrestricted };
    (@restriction $restriction:expr) => { $restriction };
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
