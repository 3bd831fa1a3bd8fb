//! What is kept between starts: for each login that a person consented for, one sealed file.
//!
//! A file is replaced as a whole: written beside, flushed, renamed, the folder flushed, so that
//! at any moment one valid record is there (requirement 20). It is sealed (AES-256-GCM) with the
//! login as associated data, so that a record under another login's name does not open. Nothing
//! here deletes a record but [`Store::forget`].
//!
//! Several processes may hold the store open: whoever reads and then writes locks the record
//! first. A relay that serves sees another's writing by the file's identity and time. A record that
//! could not be written stays in memory with its lock, so that nobody redeems its predecessor.

mod file;
mod record;
mod seal;

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::failure::{Class, TokenError};
use crate::config::State;
use crate::platform::FileId;
pub(crate) use file::Room;
pub use file::{StateError, generated};
pub use record::{ConsentRefusal, Owner, StoredConsent};
use seal::Sealer;

/// The format of the files; another version is refused, never rewritten.
const FORMAT: u32 = 1;

/// How often a held lock is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Whoever holds a lock asks an endpoint meanwhile: it is waited for longer than that may take.
const LOCK_EXTRA: Duration = Duration::from_secs(5);

/// How often a record that could not be written is tried again: at first, and at most.
const LATE_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Octets that a record may be longer than the one before.
const GROWTH: usize = 32 * 1024;

/// The store of a state directory.
pub struct Store {
    directory: PathBuf,
    sealer: Sealer,
    /// What was tightened at the start, for people.
    notes: Vec<String>,
    late: Arc<Lates>,
}

/// Records of redemptions that could not be written yet, by login.
type Lates = Mutex<HashMap<String, Late>>;

struct Late {
    record: StoredConsent,
    _lock: File,
}

/// The turn to read and write a login's record; ends when dropped.
pub(crate) struct StoreTurn {
    login: String,
    lock: Option<File>,
    /// What could not be written so far. Dropped with it, it stays pending.
    late: Option<StoredConsent>,
    lates: Arc<Lates>,
}

impl StoreTurn {
    /// What could not be written so far; whoever takes it writes it, or what replaces it.
    pub(crate) fn take_late(&mut self) -> Option<StoredConsent> {
        self.late.take()
    }
}

impl Drop for StoreTurn {
    fn drop(&mut self) {
        if let (Some(record), Some(lock)) = (self.late.take(), self.lock.take()) {
            let late = Late {
                record,
                _lock: lock,
            };
            locked(&self.lates).insert(self.login.clone(), late);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens, and where nothing is there yet makes, the state directory and its key.
    ///
    /// # Errors
    ///
    /// [`StateError`] where others may read it and that cannot be changed, where it cannot be read or
    /// written, or where the key is not the one that sealed what is there.
    pub fn open(state: &State) -> Result<Arc<Self>, StateError> {
        let mut notes = file::prepare(&state.directory)?;
        let (key, note) = file::key(&state.key)?;
        notes.extend(note);
        let sealer = Sealer::new(&key)
            .ok_or_else(|| StateError::new(&state.directory, "its key cannot be used"))?;
        let store = Self {
            directory: state.directory.clone(),
            sealer,
            notes,
            late: Arc::default(),
        };
        store.check_key()?;
        Ok(Arc::new(store))
    }

    /// What was tightened at the start: files and folders of ours that others could read.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Keeps on writing what another holder of the same directory could not write yet.
    pub(crate) fn take_over(self: Arc<Self>, before: &Self) -> Arc<Self> {
        if self.directory != before.directory {
            return self;
        }
        match Arc::try_unwrap(self) {
            Ok(store) => Arc::new(Self {
                late: before.late.clone(),
                ..store
            }),
            Err(store) => store,
        }
    }

    /// The login's record, if there is one.
    pub(crate) async fn load(
        self: &Arc<Self>,
        login: &str,
    ) -> Result<Option<StoredConsent>, TokenError> {
        let (store, login) = (self.clone(), login.to_owned());
        self.run(&login.clone(), move || store.read(&login)).await
    }

    /// Replaces the login's record; it is on disk when this returns.
    pub(crate) async fn save(
        self: &Arc<Self>,
        login: &str,
        record: &StoredConsent,
    ) -> Result<(), TokenError> {
        let (store, name, record) = (self.clone(), login.to_owned(), record.clone());
        self.run(login, move || store.write(&name, &record)).await
    }

    /// Room on disk for the record that will replace this one.
    pub(crate) async fn make_room(
        self: &Arc<Self>,
        login: &str,
        record: &StoredConsent,
    ) -> Result<Room, TokenError> {
        let (store, name, record) = (self.clone(), login.to_owned(), record.clone());
        let make = move || {
            let length = store.seal(&name, &record)?.len() + GROWTH;
            Room::make(&store.path(&name), length)
        };
        self.run(login, make).await
    }

    /// Replaces the login's record by way of the room that was made for it.
    pub(crate) async fn fill(
        self: &Arc<Self>,
        room: Room,
        login: &str,
        record: &StoredConsent,
    ) -> Result<(), TokenError> {
        let (store, name, record) = (self.clone(), login.to_owned(), record.clone());
        let fill = move || room.fill(store.seal(&name, &record)?.as_bytes());
        self.run(login, fill).await
    }

    /// Keeps a record that cannot be written at the moment, and its lock with it.
    pub(crate) fn write_later(&self, login: &str, mut turn: StoreTurn, record: StoredConsent) {
        debug_assert_eq!(turn.login, login, "a turn is for one login");
        turn.late = Some(record);
    }

    /// Writes what could not be written before.
    ///
    /// # Errors
    ///
    /// Where it still cannot; then it stays pending.
    pub(crate) async fn write_late(
        self: &Arc<Self>,
        turn: StoreTurn,
        late: StoredConsent,
    ) -> Result<StoreTurn, (TokenError, StoredConsent)> {
        let login = turn.login.clone();
        match self.save(&login, &late).await {
            Ok(()) => {
                tracing::info!(login, "a redeemed token is stored now");
                Ok(turn)
            }
            Err(failure) => {
                self.write_later(&login, turn, late.clone());
                Err((failure, late))
            }
        }
    }

    /// Tries until nothing of the login is pending.
    pub(crate) async fn until_stored(self: &Arc<Self>, login: &str) {
        let (mut wait, longest) = LATE_RETRY;
        loop {
            tokio::time::sleep(wait).await;
            if self.try_late(login).await {
                return;
            }
            wait = (wait * 2).min(longest);
        }
    }

    /// Tries once to write whatever is pending, before the end.
    pub(crate) async fn write_all_late(self: &Arc<Self>) {
        let logins: Vec<_> = locked(&self.late).keys().cloned().collect();
        for login in logins {
            self.try_late(&login).await;
        }
    }

    /// Whether nothing of the login is pending any more.
    async fn try_late(self: &Arc<Self>, login: &str) -> bool {
        let Some(mut turn) = self.late_turn(login) else {
            return true;
        };
        match turn.take_late() {
            Some(late) => self.write_late(turn, late).await.is_ok(),
            None => true,
        }
    }

    fn late_turn(&self, login: &str) -> Option<StoreTurn> {
        let late = locked(&self.late).remove(login)?;
        Some(StoreTurn {
            login: login.to_owned(),
            lock: Some(late._lock),
            late: Some(late.record),
            lates: self.late.clone(),
        })
    }

    /// Waits for the turn to change the login's record, a little longer than the `timeout` of a
    /// request by whoever has it.
    pub(crate) async fn lock(
        &self,
        login: &str,
        timeout: Duration,
    ) -> Result<StoreTurn, TokenError> {
        let path = self.path(login).with_extension("lock");
        let file = file::lock_file(&path).map_err(|error| failure(login, &error))?;
        let wait = async {
            loop {
                // Ours, with what could not be written.
                if let Some(turn) = self.late_turn(login) {
                    return Ok(Some(turn));
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
            Ok(Ok(Some(turn))) => Ok(turn),
            Ok(Ok(None)) => Ok(StoreTurn {
                login: login.to_owned(),
                lock: Some(file),
                late: None,
                lates: self.late.clone(),
            }),
            Ok(Err(error)) => Err(failure(login, &StateError::new(&path, error))),
            Err(_) => Err(TokenError::later(format!(
                "another process still redeems the consent of {login}, or has a redemption that it cannot store"
            ))
            .remedy("the identity provider is slow, or the state directory has no room: see the other relay's log")),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// [`StateError`] where it is there and cannot be read or opened.
    pub fn read(&self, login: &str) -> Result<Option<StoredConsent>, StateError> {
        let path = self.path(login);
        let Some(text) = file::read(&path)? else {
            return Ok(None);
        };
        let broken = || {
            StateError::new(
                &path,
                "it is damaged, or sealed with another key or for another login",
            )
        };
        let clear = self.sealer.open(&text, login, FORMAT).ok_or_else(broken)?;
        serde_json::from_slice(&clear)
            .map(Some)
            .map_err(|_| broken())
    }

    /// Every login that has a record, in order.
    pub fn logins(&self) -> Vec<String> {
        let mut logins = file::names(&self.directory.join("tokens"))
            .into_iter()
            .filter_map(|path| {
                let text = file::read(&path).ok().flatten()?;
                let login = seal::login_of(&text)?;
                // The seal's word and misplaced files are none.
                (self.path(&login) == path).then_some(login)
            })
            .collect::<Vec<_>>();
        logins.sort();
        logins
    }

    /// Replaces a record; it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`StateError`] where it cannot be written; then the old one is still there.
    pub fn write(&self, login: &str, record: &StoredConsent) -> Result<(), StateError> {
        file::replace(&self.path(login), self.seal(login, record)?.as_bytes())
    }

    fn seal(&self, login: &str, record: &StoredConsent) -> Result<String, StateError> {
        // A text that grows would leave its parts in memory.
        let mut clear = zeroize::Zeroizing::new(Vec::with_capacity(2 * GROWTH));
        serde_json::to_writer(&mut *clear, record)
            .ok()
            .and_then(|()| self.sealer.seal(&clear, login, FORMAT))
            .ok_or_else(|| StateError::new(&self.path(login), "it cannot be sealed"))
    }

    /// Deletes a record; whether there was one. Waits for whoever is changing it: what they
    /// write must not outlive this. Blocks.
    ///
    /// # Errors
    ///
    /// [`StateError`] where it cannot be deleted.
    pub fn forget(&self, login: &str) -> Result<bool, StateError> {
        let path = self.path(login);
        let turn = self
            .late_turn(login)
            .map(|mut turn| (turn.take_late(), turn));
        if turn.is_none() && file::read(&path)?.is_none() {
            return Ok(false);
        }
        let lock = path.with_extension("lock");
        let file = file::lock_file(&lock)?;
        if turn.is_none() {
            file.lock().map_err(|error| StateError::new(&lock, error))?;
        }
        file::remove(&path)
    }

    /// Changes whenever the login's record does; `None` while there is none.
    pub(crate) fn version(&self, login: &str) -> Option<RecordVersion> {
        let path = self.path(login);
        let modified = std::fs::metadata(&path).ok()?.modified().ok()?;
        Some(RecordVersion(FileId::of_path(&path).ok()?, modified))
    }

    /// A file whose name says nothing of the login.
    fn path(&self, login: &str) -> PathBuf {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, login.as_bytes());
        let name: String = digest
            .as_ref()
            .iter()
            .take(16)
            .map(|octet| format!("{octet:02x}"))
            .collect();
        self.directory
            .join("tokens")
            .join(name)
            .with_extension("json")
    }

    /// A sealed word that every start opens: with another key nothing could be read any more.
    fn check_key(&self) -> Result<(), StateError> {
        let path = self.directory.join("tokens").join("check.json");
        let word = "authrelay";
        match file::read(&path)? {
            Some(text) => match self.sealer.open(&text, word, FORMAT) {
                Some(_) => Ok(()),
                None => Err(StateError::new(
                    &self.directory,
                    "its tokens are sealed with another key: give back the old one as state.key, or move the directory away and authorize the accounts again",
                )),
            },
            None => match self.sealer.seal(word.as_bytes(), word, FORMAT) {
                Some(text) => file::replace(&path, text.as_bytes()),
                None => Err(StateError::new(&path, "it cannot be sealed")),
            },
        }
    }

    /// Files are slow now and then: never on the threads that relay.
    async fn run<T: Send + 'static>(
        &self,
        login: &str,
        work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, TokenError> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result.map_err(|error| failure(login, &error)),
            Err(_) => Err(TokenError::new(Class::Ours, "the token store's task ended")),
        }
    }
}

/// See [`Store::version`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordVersion(FileId, SystemTime);

/// The login says which file it is; the file's own name says nothing to anybody.
fn failure(login: &str, error: &StateError) -> TokenError {
    let detail = format!(
        "the stored consent of {login} cannot be used: {}",
        error.why()
    );
    TokenError::new(Class::Ours, detail).remedy(
        "the state directory needs room, mode 0700, authrelay's user as its owner, and the key that sealed it; `authrelay authorize` writes a record anew",
    )
}

#[cfg(test)]
mod tests;
