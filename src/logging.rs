//! The log: one line a record on stderr, text for people or JSON for machines.
//!
//! Only authrelay's own records follow `log.level`. Libraries speak up from `warn` on: what they
//! trace is bytes, and bytes may be credentials.

use std::io::IsTerminal as _;

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::{fmt, registry};

use crate::config::{Log, LogFormat};

/// A subscriber that writes what `log` asks for to `writer`.
pub fn subscriber<W>(log: &Log, ansi: bool, writer: W) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let libraries = LevelFilter::from_level(log.level.min(Level::WARN));
    let filter = Targets::new()
        .with_default(libraries)
        .with_target("authrelay", log.level);
    let lines = fmt::layer().with_writer(writer).with_target(false);
    match log.format {
        LogFormat::Text => Box::new(registry().with(lines.with_ansi(ansi).with_filter(filter))),
        LogFormat::Json => {
            Box::new(registry().with(lines.json().flatten_event(true).with_filter(filter)))
        }
    }
}

/// Makes it the process's log.
pub fn start(log: &Log) {
    let ansi = std::io::stderr().is_terminal();
    // An error means that somebody has set one already, in a test.
    let _ = tracing::subscriber::set_global_default(subscriber(log, ansi, std::io::stderr));
}
