//! Single values: words, addresses, numbers, durations, sizes, text, paths, programs, dates, scopes.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use time::Date;
use time::format_description::well_known::Iso8601;
use tracing::Level;

use super::super::field::{Field, is_name};
use super::super::key::{Form, Restriction, Text, Value, words};
use super::super::kind::Kind;
use crate::wire::Protocol;
use crate::wire::address::Pattern;
use crate::wire::sasl::Mechanism;

words! {
    impl Level {
        ERROR = "error",
        WARN = "warn",
        INFO = "info",
        DEBUG = "debug",
        TRACE = "trace",
    }
}

words! {
    impl Protocol { Imap = "imap", Pop3 = "pop3", Smtp = "smtp", }
    "must name at least one of imap, pop3 and smtp"
}
words! { impl Mechanism { Xoauth2 = "xoauth2", Oauthbearer = "oauthbearer", } }

/// Reads an address, `*@domain`, `<>` or `*`.
impl Value for Pattern {
    const NONE: &'static str = "allows no address; name addresses or remove the key";

    fn read(field: &Field) -> Option<Self> {
        field.accept(Self::parse(field.text()?))
    }

    fn kind() -> Kind {
        Kind::text("address, `*@domain`, `<>`, `*`")
    }
}

/// Longest duration; a longer one is a mistake.
pub(in crate::config) const YEAR: Duration = Duration::from_secs(366 * 86_400);

impl Value for bool {
    fn read(field: &Field) -> Option<Self> {
        field.one_of(&[("true", true), ("false", false)])
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
                (0..=Self::MAX).read(field)
            }

            fn kind() -> Kind {
                Restriction::<Self>::kind(&(0..=Self::MAX))
            }
        }

        impl Restriction<$number> for RangeInclusive<$number> {
            fn read(&self, field: &Field) -> Option<$number> {
                let number = field.text()?.replace('_', "").parse().ok();
                let number = number.filter(|number| self.contains(number));
                let (least, most) = (self.start(), self.end());
                field.accept(number.ok_or_else(|| {
                    format!("must be a whole number from {least} to {most}")
                }))
            }

            fn kind(&self) -> Kind {
                let (least, most) = (self.start(), self.end());
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
        (Self::from_millis(1)..=YEAR).read(field)
    }

    fn kind() -> Kind {
        // Matches every sequence of numbers and units that humantime accepts.
        Kind::pattern(
            "time",
            "^ *[0-9]+(\\.[0-9]+)? *[A-Za-zµ]+( *[0-9]+(\\.[0-9]+)? *[A-Za-zµ]+)* *$",
        )
    }
}

impl Restriction<Duration> for RangeInclusive<Duration> {
    /// Reads a duration such as `90s`, `35m` or `1h 30m`.
    fn read(&self, field: &Field) -> Option<Duration> {
        let shown = |duration: &Duration| humantime::format_duration(*duration).to_string();
        match humantime::parse_duration(field.text()?) {
            Ok(duration) if self.contains(&duration) => Some(duration),
            Ok(duration) if duration.is_zero() || duration > YEAR => {
                field.reject("must be more than 0 and less than a year")
            }
            Ok(duration) if duration < *self.start() => {
                field.reject(format_args!("must be at least {}", shown(self.start())))
            }
            Ok(_) => field.reject(format_args!("must be at most {}", shown(self.end()))),
            Err(_) => field.reject("must be a time with its unit, as in 30s, 5m or 1h"),
        }
    }

    fn kind(&self) -> Kind {
        let shown = |duration: &Duration| humantime::format_duration(*duration).to_string();
        let name = match (*self.start(), *self.end()) {
            (least, YEAR) => format!("time, at least {}", shown(&least)),
            (_, most) => format!("time, at most {}", shown(&most)),
        };
        Duration::kind().named(&name)
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
        field.accept(read().ok_or(
            "must be a size with its unit, as in 35MB (35,000,000 octets) or 35MiB (binary)",
        ))
    }

    fn kind() -> Kind {
        Kind::pattern(
            "size",
            "^ *[0-9_]*[0-9][0-9_]* *([kKmMgGtT]?[bB]|[kKmMgG][iI][bB])$",
        )
    }
}

impl Text for String {
    const KIND: &'static str = "text";

    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        Ok(text.to_owned())
    }
}

/// A name that the operator chooses; it appears in the log.
pub(in crate::config) const NAME: Form<String> = Form {
    kind: "name",
    parse: |text| match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err("may have letters, digits, \".\", \"_\" and \"-\", at most 64".into()),
    },
};

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

/// Program with its arguments, written `[PROGRAM, ARG…]`.
#[derive(Debug, Clone)]
pub struct Program {
    /// Program, run without a shell.
    pub program: PathBuf,
    /// Arguments, passed unchanged.
    pub arguments: Vec<String>,
}

impl Value for Program {
    fn read(field: &Field) -> Option<Self> {
        let items = field.list()?;
        let words: Option<Vec<_>> = items.iter().map(Field::text).collect();
        match words?.split_first() {
            Some((name, arguments)) => {
                let program = field.sources().program(name);
                if field.sources().lack_program(&program) {
                    field.warn(format_args!("there is no program {}", program.display()));
                }
                Some(Self {
                    program,
                    arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
                })
            }
            None => field.reject("must name a program and its arguments"),
        }
    }

    fn kind() -> Kind {
        Kind::text("text").list(1).named("`[PROGRAM, ARG…]`")
    }
}

/// A date, as seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct Day(pub(in crate::config) i64);

impl Value for Day {
    fn read(field: &Field) -> Option<Self> {
        let text = field.word()?;
        // The parser also takes a time after the date, and days of a week or year.
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        let is_part = |octet: u8| octet.is_ascii_digit() || octet == b'-';
        let day = match digits == 8 && text.bytes().all(is_part) {
            true => Date::parse(text, &Iso8601::DATE).ok(),
            false => None,
        };
        let day = field.accept(day.ok_or("must be a date, as in 2027-05-01"))?;
        Some(Self(day.midnight().assume_utc().unix_timestamp()))
    }

    fn kind() -> Kind {
        // YAML reads `20270501` as a number.
        Kind::new(
            "date",
            json!({
                "type": ["integer", "string"],
                "minimum": 10_000_101,
                "maximum": 99_991_231,
                "pattern": "^[0-9]{4}-?(0[1-9]|1[0-2])-?(0[1-9]|[12][0-9]|3[01])$",
            }),
        )
    }
}

/// One scope: `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )` (RFC 6749 §3.3).
#[derive(Debug, Clone)]
pub(in crate::config) struct Scope(pub(in crate::config) String);

impl Text for Scope {
    const KIND: &'static str = "scope";
    const NONE: &'static str = "must name at least one scope";

    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        let is_allowed = |octet: u8| octet.is_ascii_graphic() && !b"\"\\".contains(&octet);
        match text.bytes().all(is_allowed) {
            true => Ok(Self(text.to_owned())),
            false => Err("must be one scope; write several as a list".into()),
        }
    }
}
