//! What is kept between starts: for each login that a person consented for, one sealed file.
//!
//! A file is replaced as a whole: written beside, flushed, renamed, the folder flushed, so that
//! at any moment one valid record is there (requirement 20). It is sealed (AES-256-GCM) with the
//! login as associated data, so that a record under another login's name does not open. Nothing
//! here deletes a record but [`Store::forget`].
//!
//! Several processes may hold the store open: whoever reads and then writes locks the record
//! first. A relay that serves sees another's writing by the file's identity and time.

mod file;
mod seal;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Failure, Grant, now};
use crate::config::State;
use crate::fault::{Fault, Kind};
use crate::secret::Secret;
pub use file::{Unusable, generated};
use seal::Sealer;

/// The format of the files; another version is refused, never rewritten.
const FORMAT: u32 = 1;

/// A stored token is used only if it lives this much longer: a session wants some minutes of it,
/// and our clock may be wrong by some more.
const LEAST: Duration = Duration::from_secs(15 * 60);

/// How often a held lock is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// The store of a state directory.
pub struct Store {
    directory: PathBuf,
    sealer: Sealer,
}

/// What one login's file holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Who may redeem the refresh token.
    pub client_id: String,
    /// RFC 6749 §1.5.
    #[serde(serialize_with = "exposed")]
    pub refresh_token: Secret,
    /// The last access token.
    access: Option<Access>,
    /// Who consented, as far as the token told.
    pub identity: Option<String>,
    /// What was granted, as far as the answer told.
    #[serde(default)]
    granted: Vec<String>,
    /// When, in seconds since 1970.
    pub consented: u64,
    /// Why the consent has ended, if it has.
    pub refused: Option<Refusal>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Access {
    #[serde(serialize_with = "exposed")]
    token: Secret,
    /// Seconds since 1970.
    obtained: u64,
    /// Seconds since 1970.
    expires: u64,
}

/// A refusal that only a new consent cures.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refusal {
    /// Seconds since 1970.
    pub time: u64,
    /// What the identity provider said.
    pub detail: String,
    /// What to do.
    pub remedy: Option<String>,
}

/// The one place where a secret is written: into bytes that are sealed at once.
fn exposed<S: serde::Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

impl Record {
    /// Of a consent that was just given.
    pub(super) fn new(
        client_id: &str,
        refresh_token: Secret,
        identity: Option<String>,
        granted: Vec<String>,
    ) -> Self {
        Self {
            client_id: client_id.to_owned(),
            refresh_token,
            access: None,
            identity,
            granted,
            consented: now(),
            refused: None,
        }
    }

    /// Of the scopes that are wanted those that a refresh may ask for: none that was not granted
    /// (RFC 6749 §6). Answers leave out the provider's word for a refresh token (`offline`), and
    /// some say nothing or use other words: then all are asked for.
    pub(super) fn refreshable(&self, wanted: Vec<String>, offline: &[String]) -> Vec<String> {
        let granted = |scope: &String| self.granted.contains(scope);
        if !wanted.iter().any(granted) {
            return wanted;
        }
        wanted
            .into_iter()
            .filter(|scope| granted(scope) || offline.contains(scope))
            .collect()
    }

    /// Keeps an access token.
    pub(super) fn obtained(&mut self, grant: &Grant) {
        let obtained = now();
        self.access = Some(Access {
            token: grant.token.clone(),
            obtained,
            expires: obtained.saturating_add(grant.lifetime.as_secs()),
        });
    }

    /// The consent has ended.
    pub(super) fn refuse(&mut self, fault: &Fault) {
        self.refused = Some(Refusal {
            time: now(),
            detail: fault.detail().to_owned(),
            remedy: fault.remedy().map(str::to_owned),
        });
    }

    /// The access token, if it lives long enough and is not the one to be replaced.
    pub(super) fn access(&self, replaces: Option<&Secret>) -> Option<Grant> {
        let access = self.access.as_ref()?;
        let now = now();
        // A clock that was set back makes no token younger than it is.
        if now < access.obtained || replaces == Some(&access.token) {
            return None;
        }
        let lifetime = Duration::from_secs(access.expires.checked_sub(now)?);
        (lifetime > LEAST).then(|| Grant {
            token: access.token.clone(),
            lifetime,
            stored: true,
        })
    }

    /// How long ago the refresh token was last redeemed or given.
    pub(super) fn unused_for(&self) -> Duration {
        let last = self.access.as_ref().map(|access| access.obtained);
        let last = last.unwrap_or_default().max(self.consented);
        Duration::from_secs(now().saturating_sub(last))
    }

    /// When the access token expires, in seconds since 1970.
    pub fn expires(&self) -> Option<u64> {
        self.access.as_ref().map(|access| access.expires)
    }
}

/// Somebody's turn to read and write a record; ends when dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock ends with its file")] std::fs::File);

impl Store {
    /// Opens, and where nothing is there yet makes, the state directory and its key.
    ///
    /// # Errors
    ///
    /// [`Unusable`] where others may read it, where it cannot be read or written, or where the
    /// key is not the one that sealed what is there.
    pub fn open(state: &State) -> Result<Arc<Self>, Unusable> {
        file::prepare(&state.directory)?;
        let key = file::key(&state.key)?;
        let sealer = Sealer::new(&key)
            .ok_or_else(|| Unusable::new(&state.directory, "its key cannot be used"))?;
        let store = Self {
            directory: state.directory.clone(),
            sealer,
        };
        store.check_key()?;
        Ok(Arc::new(store))
    }

    /// The login's record, if there is one.
    pub(crate) async fn load(self: &Arc<Self>, login: &str) -> Result<Option<Record>, Failure> {
        let (store, login) = (self.clone(), login.to_owned());
        run(move || store.read(&login)).await
    }

    /// Replaces the login's record; it is on disk when this returns.
    pub(crate) async fn save(
        self: &Arc<Self>,
        login: &str,
        record: &Record,
    ) -> Result<(), Failure> {
        let (store, login, record) = (self.clone(), login.to_owned(), record.clone());
        run(move || store.write(&login, &record)).await
    }

    /// Waits for the turn to change the login's record.
    pub(crate) async fn lock(&self, login: &str, timeout: Duration) -> Result<Lock, Failure> {
        let path = self.path(login).with_extension("lock");
        let file = file::lock_file(&path).map_err(|error| failure(&error))?;
        let wait = async {
            loop {
                match file.try_lock() {
                    Ok(()) => return Ok(()),
                    Err(std::fs::TryLockError::WouldBlock) => {
                        tokio::time::sleep(LOCK_RETRY).await;
                    }
                    Err(std::fs::TryLockError::Error(error)) => return Err(error),
                }
            }
        };
        match tokio::time::timeout(timeout, wait).await {
            Ok(Ok(())) => Ok(Lock(file)),
            Ok(Err(error)) => Err(failure(&Unusable::new(&path, error))),
            Err(_) => Err(failure(&Unusable::new(&path, "another process holds it"))),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// [`Unusable`] where it is there and cannot be read or opened.
    pub fn read(&self, login: &str) -> Result<Option<Record>, Unusable> {
        let path = self.path(login);
        let Some(text) = file::read(&path)? else {
            return Ok(None);
        };
        let broken = || {
            Unusable::new(
                &path,
                "it is damaged, or sealed with another key or for another login",
            )
        };
        let clear = self.sealer.open(&text, login, FORMAT).ok_or_else(broken)?;
        serde_json::from_slice(&clear)
            .map(Some)
            .map_err(|_| broken())
    }

    /// Replaces a record; it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`Unusable`] where it cannot be written; then the old one is still there.
    pub fn write(&self, login: &str, record: &Record) -> Result<(), Unusable> {
        let path = self.path(login);
        let clear = zeroize::Zeroizing::new(serde_json::to_vec(record).unwrap_or_default());
        let text = self
            .sealer
            .seal(&clear, login, FORMAT)
            .ok_or_else(|| Unusable::new(&path, "it cannot be sealed"))?;
        file::replace(&path, text.as_bytes())
    }

    /// Deletes a record; whether there was one. Waits for whoever is changing it: what they
    /// write must not outlive this. Blocks.
    ///
    /// # Errors
    ///
    /// [`Unusable`] where it cannot be deleted.
    pub fn forget(&self, login: &str) -> Result<bool, Unusable> {
        let path = self.path(login);
        if file::read(&path)?.is_none() {
            return Ok(false);
        }
        let lock = path.with_extension("lock");
        let turn = file::lock_file(&lock)?;
        turn.lock().map_err(|error| Unusable::new(&lock, error))?;
        file::remove(&path)
    }

    /// Changes whenever the login's record does; `None` while there is none.
    pub(crate) fn version(&self, login: &str) -> Option<Version> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(self.path(login)).ok()?;
        Some(Version(
            metadata.ino(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        ))
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
    fn check_key(&self) -> Result<(), Unusable> {
        let path = self.directory.join("tokens").join("check.json");
        let word = "authrelay";
        match file::read(&path)? {
            Some(text) => match self.sealer.open(&text, word, FORMAT) {
                Some(_) => Ok(()),
                None => Err(Unusable::new(
                    &self.directory,
                    "its tokens are sealed with another key: give back the old one as state.key, or move the directory away and authorize the accounts again",
                )),
            },
            None => match self.sealer.seal(word.as_bytes(), word, FORMAT) {
                Some(text) => file::replace(&path, text.as_bytes()),
                None => Err(Unusable::new(&path, "it cannot be sealed")),
            },
        }
    }
}

/// See [`Store::version`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version(u64, i64, i64);

/// Files are slow now and then: never on the threads that relay.
async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Unusable> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| failure(&error)),
        Err(_) => Err(Failure::from(Fault::new(
            Kind::Internal,
            "the token store's task ended",
        ))),
    }
}

fn failure(error: &Unusable) -> Failure {
    let fault = Fault::new(Kind::Internal, error.to_string());
    Failure::from(fault.remedy_is(
        "the state directory wants room, mode 0700, authrelay's user as its owner, and the key that sealed it; `authrelay authorize` writes a record anew",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever refreshes reads, asks and writes: a record that is deleted meanwhile stays deleted.
    #[tokio::test]
    async fn what_is_forgotten_is_not_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&State {
            directory: directory.path().join("state"),
            key: crate::config::StateKey::Given(Secret::from("a key of some length")),
            wanted: true,
        })
        .unwrap();
        let record = Record::new("client", Secret::from("refresh"), None, Vec::new());
        store.write("login", &record).unwrap();
        let turn = store.lock("login", Duration::from_secs(1)).await.unwrap();
        let forgetting = {
            let store = store.clone();
            std::thread::spawn(move || store.forget("login").unwrap())
        };
        // Where it does not wait, it is done by then.
        std::thread::sleep(Duration::from_millis(200));
        store.write("login", &record).unwrap();
        drop(turn);
        assert!(forgetting.join().unwrap());
        assert!(store.read("login").unwrap().is_none());
        assert!(!store.forget("login").unwrap());
    }

    #[test]
    fn a_refresh_asks_for_nothing_that_was_not_granted() {
        let record = |granted: &[&str]| {
            let granted = granted.iter().map(|scope| (*scope).to_owned()).collect();
            Record::new("c", Secret::from("r"), None, granted)
        };
        let list = |scopes: &[&str]| -> Vec<String> {
            scopes.iter().map(|scope| (*scope).to_owned()).collect()
        };
        let wanted = || list(&["imap", "smtp", "offline_access"]);
        let offline = list(&["offline_access"]);
        assert_eq!(record(&["imap"]).refreshable(wanted(), &[]), ["imap"]);
        // Entra's answer never names it, and the refresh wants it.
        assert_eq!(
            record(&["imap", "smtp"]).refreshable(wanted(), &offline),
            wanted()
        );
        assert_eq!(record(&[]).refreshable(wanted(), &[]), wanted());
        assert_eq!(record(&["IMAP"]).refreshable(wanted(), &[]), wanted());
    }
}
