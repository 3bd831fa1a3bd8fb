//! Values of each kind: how they are read, and their kinds for the reference.

pub(super) mod certificates;
mod mail;
mod network;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use time::Date;
use time::format_description::well_known::Iso8601;
use tracing::Level;

use super::field::{Field, is_name};
use super::key::{Ranged, Value, words};
use super::kind::Kind;
use super::provider::IpPreference;
pub(super) use network::{BaseUrl, EndpointUrl, HostName, HostPort, https};

words! {
    impl Level {
        ERROR = "error",
        WARN = "warn",
        INFO = "info",
        DEBUG = "debug",
        TRACE = "trace",
    }
}
words! { impl IpPreference { Any = "any", V4 = "v4", V6 = "v6", } }

/// Longest duration; a longer one is a mistake.
pub(super) const YEAR: Duration = Duration::from_secs(366 * 86_400);

impl Value for bool {
    fn read(field: &Field) -> Option<Self> {
        match field.text()? {
            "true" => Some(true),
            "false" => Some(false),
            _ => field.reject("must be true or false"),
        }
    }

    fn kind() -> Kind {
        Kind::new(
            "`true`, `false`",
            json!({"enum": [true, false, "true", "false"]}),
        )
    }
}

macro_rules! number {
    ($number:ty) => {
        impl Value for $number {
            fn read(field: &Field) -> Option<Self> {
                Self::read_within(field, &(0..=Self::MAX))
            }

            fn kind() -> Kind {
                Self::kind_within(&(0..=Self::MAX))
            }
        }

        impl Ranged for $number {
            fn read_within(field: &Field, range: &RangeInclusive<Self>) -> Option<Self> {
                let number = field.text()?.replace('_', "").parse().ok();
                match number.filter(|number| range.contains(number)) {
                    Some(number) => Some(number),
                    None => field.reject(format_args!(
                        "must be a whole number from {} to {}",
                        range.start(),
                        range.end()
                    )),
                }
            }

            fn kind_within(range: &RangeInclusive<Self>) -> Kind {
                let (least, most) = (range.start(), range.end());
                Kind::new(
                    format!("{least} to {most}"),
                    json!({
                        "type": ["integer", "string"],
                        "minimum": least,
                        "maximum": most,
                        "pattern": "^[0-9_]*[0-9][0-9_]*$",
                    }),
                )
            }
        }
    };
}
number!(u16);
number!(u32);
number!(usize);

impl Value for Duration {
    fn read(field: &Field) -> Option<Self> {
        Self::read_within(field, &(Self::from_millis(1)..=YEAR))
    }

    fn kind() -> Kind {
        // Matches every sequence of numbers and units that humantime accepts.
        Kind::pattern(
            "time",
            "^ *[0-9]+(\\.[0-9]+)? *[A-Za-zµ]+( *[0-9]+(\\.[0-9]+)? *[A-Za-zµ]+)* *$",
        )
    }
}

impl Ranged for Duration {
    /// Reads a duration such as `90s`, `35m` or `1h 30m`.
    fn read_within(field: &Field, range: &RangeInclusive<Self>) -> Option<Self> {
        let shown = |duration: &Self| humantime::format_duration(*duration).to_string();
        match humantime::parse_duration(field.text()?) {
            Ok(duration) if range.contains(&duration) => Some(duration),
            Ok(duration) if duration.is_zero() || duration > YEAR => {
                field.reject("must be more than 0 and less than a year")
            }
            Ok(duration) if duration < *range.start() => {
                field.reject(format_args!("must be at least {}", shown(range.start())))
            }
            Ok(_) => field.reject(format_args!("must be at most {}", shown(range.end()))),
            Err(_) => field.reject("must be a time with its unit, as in 30s, 5m or 1h"),
        }
    }

    fn kind_within(range: &RangeInclusive<Self>) -> Kind {
        let shown = |duration: &Self| humantime::format_duration(*duration).to_string();
        let name = match (*range.start(), *range.end()) {
            (least, YEAR) => format!("time, at least {}", shown(&least)),
            (_, most) => format!("time, at most {}", shown(&most)),
        };
        Self::kind().named(&name)
    }
}

/// Reads a size in octets such as `35MB` or `35MiB`; at least one octet.
impl Value for u64 {
    fn read(field: &Field) -> Option<Self> {
        const UNITS: [(&str, u64); 8] = [
            ("kb", 1_000),
            ("mb", 1_000_000),
            ("gb", 1_000_000_000),
            ("tb", 1_000_000_000_000),
            ("kib", 1 << 10),
            ("mib", 1 << 20),
            ("gib", 1 << 30),
            ("b", 1),
        ];
        let text = field.text()?.to_ascii_lowercase();
        let read = || {
            let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
            let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
            let number: Self = number.trim().replace('_', "").parse().ok()?;
            number.checked_mul(*factor).filter(|size| *size > 0)
        };
        match read() {
            Some(size) => Some(size),
            None => field.reject(
                "must be a size with its unit, as in 35MB (35,000,000 octets) or 35MiB (binary)",
            ),
        }
    }

    fn kind() -> Kind {
        Kind::pattern(
            "size",
            "^ *[0-9_]*[0-9][0-9_]* *([kKmMgGtT]?[bB]|[kKmMgG][iI][bB])$",
        )
    }
}

impl Value for String {
    fn read(field: &Field) -> Option<Self> {
        field.word().map(str::to_owned)
    }

    fn kind() -> Kind {
        Kind::text("text")
    }
}

/// Name chosen by the operator; appears in the log.
#[derive(Debug, Clone)]
pub(super) struct Name(pub(super) String);

impl Value for Name {
    fn read(field: &Field) -> Option<Self> {
        match field.word()? {
            name if is_name(name) => Some(Self(name.to_owned())),
            _ => field.reject("may have letters, digits, \".\", \"_\" and \"-\", at most 64"),
        }
    }

    fn kind() -> Kind {
        Kind::text("name")
    }
}

/// Reads a path relative to the file.
impl Value for PathBuf {
    fn read(field: &Field) -> Option<Self> {
        // Removes the `.` of `./state`, which would appear in every message.
        let path = field.sources().resolve(field.word()?);
        Some(path.components().collect())
    }

    fn kind() -> Kind {
        Kind::text("path")
    }
}

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
pub(super) struct AnyNumber<T>(pub(super) Vec<T>);

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

/// A list with at least one item, each with its position. Wrong items are `None`, so that the
/// others are still checked.
#[derive(Debug, Clone)]
pub(super) struct Each<T>(pub(super) Vec<(Field, Option<T>)>);

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
pub(super) struct Named<T>(pub(super) Vec<(String, Field, Option<T>)>);

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

/// Program with its arguments, written `[PROGRAM, ARG…]`.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
}

impl Value for Program {
    fn read(field: &Field) -> Option<Self> {
        let items = field.list()?;
        let words: Option<Vec<_>> = items.iter().map(Field::text).collect();
        match words?.split_first() {
            Some((program, arguments)) => Some(Self {
                program: field.sources().program(program),
                arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            }),
            None => field.reject("must name a program and its arguments"),
        }
    }

    fn kind() -> Kind {
        Kind::text("text").list(1).named("`[PROGRAM, ARG…]`")
    }
}

/// A date, as seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Day(pub(super) i64);

impl Value for Day {
    fn read(field: &Field) -> Option<Self> {
        match Date::parse(field.word()?, &Iso8601::DATE) {
            Ok(day) => Some(Self(day.midnight().assume_utc().unix_timestamp())),
            Err(_) => field.reject("must be a date, as in 2027-05-01"),
        }
    }

    fn kind() -> Kind {
        Kind::pattern("date", "^[0-9]{4}-?[0-9]{2}-?[0-9]{2}$")
    }
}

/// One scope: `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )` (RFC 6749 §3.3).
#[derive(Debug, Clone)]
pub(super) struct Scope(pub(super) String);

impl Value for Scope {
    const NONE: &'static str = "must name at least one scope";

    fn read(field: &Field) -> Option<Self> {
        let text = field.word()?;
        let good = text
            .bytes()
            .all(|octet| octet.is_ascii_graphic() && octet != b'"' && octet != b'\\');
        match good {
            true => Some(Self(text.to_owned())),
            false => field.reject("must be one scope; write several as a list"),
        }
    }

    fn kind() -> Kind {
        Kind::text("scope")
    }
}
