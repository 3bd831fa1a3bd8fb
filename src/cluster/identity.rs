//! Identity of this relay among several: a name for people, an id that outlives restarts, and the
//! roster stored on disk.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::command::Ages;
use super::roster::Roster;
use crate::platform;
use crate::text::hex;

/// Interval at which an unchanged roster is written again.
const REMEMBER: Duration = Duration::from_secs(300);

/// Identity of this relay and its stored roster.
pub struct Identity {
    name: String,
    id: Arc<str>,
    file: PathBuf,
    written: Mutex<Written>,
}

/// State of the roster's file.
#[derive(Debug, Default)]
struct Written {
    /// Ids in the last written roster.
    ids: Vec<Arc<str>>,
    /// Time of that writing.
    at: Option<Duration>,
    /// Whether a later writing has failed, which was logged.
    has_failed: bool,
}

impl Identity {
    /// Reads the identity from the state directory; creates an id if there is none.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written.
    pub fn open(directory: &Path, name: Option<&str>) -> std::io::Result<Self> {
        let path = directory.join("relay-id");
        let id = match std::fs::read_to_string(&path) {
            Ok(id) if !id.trim().is_empty() => id.trim().to_owned(),
            Ok(_) => fresh(&path)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => fresh(&path)?,
            Err(error) => return Err(error),
        };
        Ok(Self {
            name: name.map_or_else(platform::host_name, str::to_owned),
            id: id.into(),
            file: directory.join("roster.json"),
            written: Mutex::default(),
        })
    }

    /// Name of this relay, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Id of this relay.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Reads the stored roster, at `now` of this relay's clock; empty if it never saw the store.
    pub fn remembered(&self, now: Duration) -> Roster {
        let seconds: std::collections::BTreeMap<String, u64> = std::fs::read_to_string(&self.file)
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let clock = clock();
        let ages: Ages = seconds
            .into_iter()
            .map(|(id, heard)| {
                (
                    Arc::from(id),
                    Duration::from_secs(clock.saturating_sub(heard)),
                )
            })
            .collect();
        Roster::from_ages(&ages, now)
    }

    /// Writes the roster if a relay has joined or left, some time has passed, or the last writing
    /// failed. The first of several failures is logged.
    pub fn remember(&self, roster: &Roster, now: Duration) {
        let ids: Vec<_> = roster.ids().cloned().collect();
        let mut written = self.written.lock();
        let is_old = written
            .at
            .is_none_or(|at| now.saturating_sub(at) > REMEMBER);
        if written.ids == ids && !is_old {
            return;
        }
        let clock = clock();
        let seconds: std::collections::BTreeMap<String, u64> = roster
            .ages(now)
            .into_iter()
            .map(|(id, age)| (id.to_string(), clock.saturating_sub(age.as_secs())))
            .collect();
        let text = serde_json::to_string(&seconds).map_err(std::io::Error::from);
        match text.and_then(|text| write(&self.file, text.as_bytes())) {
            Ok(()) => {
                *written = Written {
                    ids,
                    at: Some(now),
                    has_failed: false,
                }
            }
            Err(error) if !written.has_failed => {
                let file = self.file.display();
                tracing::warn!(%file, %error, "the list of relays cannot be written");
                written.has_failed = true;
            }
            Err(_) => {}
        }
    }
}

/// Time by the system's clock, in seconds since 1970.
pub(super) fn clock() -> u64 {
    std::time::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_secs()
}

fn fresh(path: &Path) -> std::io::Result<String> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| std::io::Error::other("no random numbers"))?;
    let id = hex(&random);
    write(path, id.as_bytes())?;
    Ok(id)
}

/// Replaces a file as a whole.
fn write(path: &Path, octets: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let mut file = platform::open_private(&options, &temporary)?;
    platform::hand_to_folder_owner(&file, &temporary).map_err(std::io::Error::other)?;
    file.write_all(octets)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_and_the_roster_outlive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let second = Duration::from_secs;
        let first = Identity::open(directory.path(), Some("a")).unwrap();
        assert_eq!(first.name(), "a");
        let never = first.remembered(second(0));
        assert_eq!(never.len(second(0)), 0, "it never saw the store");
        let ages: Ages = [("x", 0), ("y", 60)]
            .into_iter()
            .map(|(id, age)| (Arc::from(id), second(age)))
            .collect();
        let roster = Roster::from_ages(&ages, second(1_000));
        first.remember(&roster, second(1_000));
        let again = Identity::open(directory.path(), None).unwrap();
        assert_eq!(again.id(), first.id());
        assert!(!again.name().is_empty());
        let remembered = again.remembered(second(5));
        assert_eq!(remembered.ids().count(), 2);
        assert_eq!(
            (remembered.len(second(5)), remembered.alive(second(5))),
            (2, 1)
        );
    }
}
