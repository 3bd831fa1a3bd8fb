//! The log: one line a record on stderr, text for people or JSON for machines.
//!
//! Only authrelay's own records follow `log.level`. Libraries speak up from `warn` on: what they
//! trace is bytes, and bytes may be credentials.

use std::io::IsTerminal as _;

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::{Registry, fmt, registry, reload};

use crate::config::{Log, LogFormat};

/// A subscriber that writes what `log` asks for to `writer`.
pub fn subscriber<W>(log: &Log, ansi: bool, writer: W) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    adjustable(log, ansi, writer).0
}

/// Changes the level of a log that has been started.
#[derive(Debug, Clone)]
pub struct Levels(reload::Handle<Targets, Registry>);

impl Levels {
    /// From now on this one.
    pub fn set(&self, level: Level) {
        // An error means that the log is gone.
        let _ = self.0.reload(targets(level));
    }
}

fn targets(level: Level) -> Targets {
    Targets::new()
        .with_default(LevelFilter::from_level(level.min(Level::WARN)))
        .with_target("authrelay", level)
}

fn adjustable<W>(
    log: &Log,
    ansi: bool,
    writer: W,
) -> (Box<dyn tracing::Subscriber + Send + Sync>, Levels)
where
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets(log.level));
    let lines = fmt::layer().with_writer(writer).with_target(false);
    let subscriber: Box<dyn tracing::Subscriber + Send + Sync> = match log.format {
        LogFormat::Text => Box::new(registry().with(lines.with_ansi(ansi).with_filter(filter))),
        LogFormat::Json => {
            Box::new(registry().with(lines.json().flatten_event(true).with_filter(filter)))
        }
    };
    (subscriber, Levels(handle))
}

/// Makes it the process's log.
pub fn start(log: &Log) -> Levels {
    let ansi = std::io::stderr().is_terminal();
    let (subscriber, levels) = adjustable(log, ansi, std::io::stderr);
    // An error means that somebody has set one already, in a test.
    let _ = tracing::subscriber::set_global_default(subscriber);
    levels
}
