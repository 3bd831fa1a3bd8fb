//! Consents of a state directory.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::super::failure::{Class, TokenError};
use super::file::{self, Room, StateError};
use super::first::{self, FirstFormat};
use super::kept::Kept;
use super::record::StoredConsent;
use super::turn::{PendingWrites, StoreTurn, Unwritten};
use super::version::RecordVersion;
use crate::cluster::keys::{Closed, Keys};
use crate::cluster::number::Number;
use crate::config::State;

/// Interval at which a held lock is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Time to wait for a lock beyond a request's timeout: its holder may be waiting for an endpoint.
const LOCK_EXTRA: Duration = Duration::from_secs(5);

/// Intervals at which a record that could not be written is tried again: the first, and the longest.
const PENDING_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Reason why a record is left alone.
pub(super) const NEWER: &str =
    "a later version of authrelay has written it, and it is left as it is; run that version";

/// Number of octets by which a record may be longer than the one before.
const GROWTH: usize = 32 * 1024;

/// Store of the consents in a state directory.
pub struct Store {
    pub(super) directory: PathBuf,
    keys: Arc<Keys>,
    pub(super) first: FirstFormat,
    /// Permissions tightened at the start, as text.
    notes: Vec<String>,
    pub(super) pending: Arc<PendingWrites>,
    pub(super) unwritten: Arc<Unwritten>,
    /// Lock for the comparison of numbers and the write that follows.
    pub(super) writes: Mutex<()>,
}

impl Store {
    /// Opens the state directory and its key; creates what is absent.
    ///
    /// # Errors
    ///
    /// [`StateError`] if other users may read it and that cannot be changed, if it cannot be read or
    /// written, or if the records were sealed with another key.
    pub fn open(state: &State) -> Result<Arc<Self>, StateError> {
        let mut notes = file::prepare(&state.directory)?;
        let (key, note) = file::key(&state.key)?;
        notes.extend(note);
        let useless = || StateError::new(&state.directory, "its key cannot be used");
        let store = Self {
            directory: state.directory.clone(),
            keys: Arc::new(Keys::new(&key).ok_or_else(useless)?),
            first: FirstFormat::new(&key).ok_or_else(useless)?,
            notes,
            pending: Arc::default(),
            unwritten: Arc::default(),
            writes: Mutex::default(),
        };
        store.first.check_key(&store.tokens())?;
        store.tidy();
        Ok(Arc::new(store))
    }

    /// Checks that the records of the state directory, if there are any, are sealed with its key.
    /// Creates nothing.
    ///
    /// # Errors
    ///
    /// They are sealed with another key, or the text that identifies the key is damaged or cannot
    /// be read.
    pub fn check_key(state: &State) -> Result<(), StateError> {
        let first = file::key_of(state).and_then(|key| FirstFormat::new(&key));
        match first {
            Some(first) => first.has_sealed(&state.directory.join("tokens")).map(drop),
            None => Ok(()),
        }
    }

    /// Returns the keys for names and seals.
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Whether this is the store of `state`, which is read at the start only, or `state` needs none.
    pub fn is_at(&self, state: &State) -> bool {
        let key = file::key_of(state).and_then(|key| Keys::new(&key));
        let same_key = key.is_none_or(|key| key.name("key", &[]) == self.keys.name("key", &[]));
        !state.wanted || (state.directory == self.directory && same_key)
    }

    /// Computes the name of a login's record.
    pub(crate) fn name(&self, login: &str) -> String {
        self.keys.name("consent", &[login])
    }

    /// Returns the permissions that were tightened at the start: of files and folders that other users
    /// could read.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Takes over the pending records of an older store of the same directory.
    pub(crate) fn take_over(self: Arc<Self>, before: &Self) -> Arc<Self> {
        if self.directory != before.directory {
            return self;
        }
        match Arc::try_unwrap(self) {
            Ok(store) => Arc::new(Self {
                pending: before.pending.clone(),
                unwritten: before.unwritten.clone(),
                ..store
            }),
            Err(store) => store,
        }
    }

    /// Reads the login's record, if there is one.
    pub(crate) async fn load(
        self: &Arc<Self>,
        login: &str,
    ) -> Result<Option<StoredConsent>, TokenError> {
        self.run(login, Store::read).await
    }

    /// Reads the login's record or tombstone.
    pub(crate) async fn load_kept(
        self: &Arc<Self>,
        login: &str,
    ) -> Result<Option<Kept>, TokenError> {
        self.run(login, Store::kept).await
    }

    /// Replaces the login's record; it is on disk when this returns.
    pub(crate) async fn save(
        self: &Arc<Self>,
        login: &str,
        record: &StoredConsent,
    ) -> Result<(), TokenError> {
        let record = record.clone();
        self.run(login, move |store, login| store.write(login, &record))
            .await
    }

    /// Reserves room on disk for the next record of the login.
    pub(crate) async fn make_room(
        self: &Arc<Self>,
        login: &str,
        record: &StoredConsent,
    ) -> Result<Room, TokenError> {
        let record = record.clone();
        let make = move |store: &Self, login: &str| {
            let length = store.seal(login, &record)?.len() + GROWTH;
            Room::make(&store.path(login), length)
        };
        self.run(login, make).await
    }

    /// Replaces the login's record in the reserved room.
    pub(crate) async fn fill(
        self: &Arc<Self>,
        room: Room,
        login: &str,
        record: &StoredConsent,
    ) -> Result<(), TokenError> {
        let record = record.clone();
        let fill = move |store: &Self, login: &str| {
            store.replace_by(login, &record, |_, sealed| room.fill(sealed))
        };
        self.run(login, fill).await
    }

    /// Writes the pending record of a turn, if there is one.
    ///
    /// # Errors
    ///
    /// The record still cannot be written; it stays pending.
    pub(crate) async fn write_pending(
        self: &Arc<Self>,
        mut turn: StoreTurn,
    ) -> Result<StoreTurn, (TokenError, StoredConsent)> {
        let Some(pending) = turn.pending.take() else {
            return Ok(turn);
        };
        match self.save(&turn.login, &pending).await {
            Ok(()) => {
                tracing::info!(login = turn.login, "a redeemed token is stored now");
                Ok(turn)
            }
            Err(failure) => {
                turn.write_later(pending.clone());
                Err((failure, pending))
            }
        }
    }

    /// Tries until no record of the login is pending.
    pub(crate) async fn until_stored(self: &Arc<Self>, login: &str) {
        let (mut wait, longest) = PENDING_RETRY;
        loop {
            tokio::time::sleep(wait).await;
            if self.try_pending(login).await {
                return;
            }
            wait = (wait * 2).min(longest);
        }
    }

    /// Tries once to write all pending records, before the end.
    pub(crate) async fn write_all_pending(self: &Arc<Self>) {
        let logins: Vec<_> = self.pending.lock().keys().cloned().collect();
        for login in logins {
            self.try_pending(&login).await;
        }
    }

    /// Whether no record of the login is pending. A request that has the turn has the record too, and
    /// may leave it pending again.
    async fn try_pending(self: &Arc<Self>, login: &str) -> bool {
        self.lock_written(login, Duration::ZERO).await.is_ok()
    }

    fn turn(&self, login: &str, lock: File, pending: Option<StoredConsent>) -> StoreTurn {
        StoreTurn {
            login: login.to_owned(),
            lock: Some(lock),
            pending,
            pending_writes: self.pending.clone(),
        }
    }

    /// Waits for the turn to change the login's record, slightly longer than the `timeout` of a request
    /// by its holder.
    pub(crate) async fn lock(
        &self,
        login: &str,
        timeout: Duration,
    ) -> Result<StoreTurn, TokenError> {
        let path = self.path(login).with_extension("lock");
        let file = file::lock_file(&path).map_err(|error| failure(login, &error))?;
        let wait = async {
            loop {
                // This process has the lock, with a record that could not be written.
                if let Some(pending) = self.pending.lock().remove(login) {
                    return Ok(Some(pending));
                }
                match file.try_lock() {
                    Ok(()) => return Ok(None),
                    Err(std::fs::TryLockError::WouldBlock) => {
                        tokio::time::sleep(LOCK_RETRY).await;
                    }
                    Err(std::fs::TryLockError::Error(error)) => return Err(error),
                }
            }
        };
        match tokio::time::timeout(timeout + LOCK_EXTRA, wait).await {
            Ok(Ok(Some(pending))) => Ok(self.turn(login, pending.lock, Some(pending.record))),
            Ok(Ok(None)) => Ok(self.turn(login, file, None)),
            Ok(Err(error)) => Err(failure(login, &StateError::new(&path, error))),
            Err(_) => Err(TokenError::later(format!(
                "another process still redeems the consent of {login}, or has a redemption that it cannot store"
            ))
            .remedy("the identity provider is slow, or the state directory has no room: see the other relay's log")),
        }
    }

    /// Waits for the turn as [`Store::lock`] does, and writes a pending record, which would not be read
    /// otherwise.
    pub(crate) async fn lock_written(
        self: &Arc<Self>,
        login: &str,
        timeout: Duration,
    ) -> Result<StoreTurn, TokenError> {
        let turn = self.lock(login, timeout).await?;
        let written = self.write_pending(turn).await;
        written.map_err(|(failure, _)| failure)
    }

    /// Reads a record; `None` if there is none, or a tombstone.
    ///
    /// # Errors
    ///
    /// [`StateError`] if it exists and cannot be read or opened.
    pub fn read(&self, login: &str) -> Result<Option<StoredConsent>, StateError> {
        Ok(self.kept(login)?.and_then(Kept::into_record))
    }

    /// Reads the record or tombstone of a login.
    ///
    /// # Errors
    ///
    /// Those of [`Store::read`].
    pub fn kept(&self, login: &str) -> Result<Option<Kept>, StateError> {
        let path = self.path(login);
        let on_disk = match file::read(&path)? {
            Some(text) => Some(self.opened(&path, &text)?),
            None => self.convert(login)?,
        };
        Ok(self.greatest(login, on_disk))
    }

    /// Opens the content of a record's file.
    pub(super) fn opened(&self, path: &Path, text: &str) -> Result<Kept, StateError> {
        let name = path.file_stem().and_then(|name| name.to_str());
        let opened = self.keys.open(name.unwrap_or_default(), text);
        let (number, clear) = opened.map_err(|closed| match closed {
            Closed::Newer => StateError::new(path, NEWER),
            Closed::Broken => StateError::new(path, first::BROKEN),
        })?;
        Kept::from_clear(number, &clear).ok_or_else(|| StateError::new(path, first::BROKEN))
    }

    /// Returns all logins with a record, in order.
    pub fn logins(&self) -> Vec<String> {
        let kept = self.all().into_iter();
        let consents = kept.filter(|kept| kept.record().is_some());
        let mut logins: Vec<_> = consents.map(|kept| kept.login).collect();
        logins.sort();
        logins
    }

    /// Reads all records and tombstones that can be opened.
    pub fn all(&self) -> Vec<Kept> {
        file::names(&self.tokens())
            .into_iter()
            .filter_map(|path| {
                let text = file::read(&path).ok().flatten()?;
                let kept = self.opened(&path, &text).ok()?;
                // The check text of the key and misplaced files are no records.
                (self.path(&kept.login) == path).then_some(kept)
            })
            .collect()
    }

    /// Replaces a record; it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`StateError`] if it cannot be written; the old one then remains.
    pub fn write(&self, login: &str, record: &StoredConsent) -> Result<(), StateError> {
        let path = self.path(login);
        let before = file::read(&path)?;
        let before = before.map(|text| self.opened(&path, &text)).transpose();
        let before = match before {
            Err(error) if error.why() == NEWER => return Err(error),
            // A record that cannot be opened is replaced.
            before => before.ok().flatten(),
        };
        let record = record.numbered(before.map(|before| before.number()));
        self.replace_by(login, &record, file::replace)
    }

    /// Replaces a record by the given way of writing, unless a person has consented or forgotten
    /// meanwhile.
    fn replace_by(
        &self,
        login: &str,
        record: &StoredConsent,
        write: impl FnOnce(&Path, &[u8]) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let _one = self.writes.lock();
        let there = self.kept(login).ok().flatten();
        let is_behind = record.number != Number::default()
            && there.is_some_and(|there| there.number() > record.number);
        if !is_behind {
            let path = self.path(login);
            write(&path, self.seal(login, record)?.as_bytes())?;
            self.on_written(&path, record.number);
        }
        Ok(())
    }

    fn seal(&self, login: &str, record: &StoredConsent) -> Result<String, StateError> {
        self.seal_kept(&Kept::of_record(login, record))
    }

    pub(super) fn seal_kept(&self, kept: &Kept) -> Result<String, StateError> {
        let name = self.name(&kept.login);
        let clear = kept.clear();
        let sealed = clear.and_then(|clear| self.keys.seal(&name, kept.number(), &clear));
        sealed.ok_or_else(|| StateError::new(&self.path(&kept.login), "it cannot be sealed"))
    }

    /// Returns the version of the login's record, which changes with it; `None` without a record.
    pub(crate) fn version(&self, login: &str) -> Option<RecordVersion> {
        let in_memory = self.unwritten_of(&self.name(login));
        RecordVersion::of(&self.path(login), in_memory.map(|record| record.number))
    }

    pub(super) fn tokens(&self) -> PathBuf {
        self.directory.join("tokens")
    }

    /// Returns the path of a record, whose name does not reveal the login.
    pub(super) fn path(&self, login: &str) -> PathBuf {
        self.path_of(&self.name(login))
    }

    /// Returns the path of the record with this name.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.tokens().join(name).with_extension("json")
    }

    /// Runs file operations on a thread for blocking work.
    async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        login: &str,
        work: impl FnOnce(&Self, &str) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, TokenError> {
        let result = self.run_blocking(login, work).await;
        result.map_err(|error| failure(login, &error))
    }

    /// Runs file operations as [`Store::run`] does, for callers that know the login.
    pub(super) async fn run_blocking<T: Send + 'static>(
        self: &Arc<Self>,
        login: &str,
        work: impl FnOnce(&Self, &str) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let (store, name) = (self.clone(), login.to_owned());
        let done = tokio::task::spawn_blocking(move || work(&store, &name)).await;
        let ended = |_| Err(StateError::new(&self.path(login), "its task ended"));
        done.unwrap_or_else(ended)
    }
}

/// Names the login in an error, since the file's name does not reveal it.
fn failure(login: &str, error: &StateError) -> TokenError {
    let detail = format!(
        "the stored consent of {login} cannot be used: {}",
        error.why()
    );
    TokenError::new(Class::Ours, detail).remedy(
        "the state directory needs room, mode 0700, authrelay's user as its owner, and the key that sealed it; `authrelay authorize` writes a new record",
    )
}

#[cfg(test)]
mod tests;
