//! State kept between starts: one sealed file for each login with a consent.
//!
//! A file is replaced as a whole: written beside, flushed, renamed, the folder flushed, so that
//! at any moment one valid record exists. Its name and its seal (AES-256-GCM) are
//! derived from `state.key`, and the name is part of what is sealed, so that a record under another
//! login's name does not open. Only [`Store::forget`] deletes a record; it leaves a tombstone, since
//! other relays may still have the record.
//!
//! Several processes may have the store open: a process that reads and then writes locks the record
//! first. A relay detects the writes of others by the file's identity and time. A record that
//! could not be written stays in memory with its lock, so that no one redeems its predecessor.

mod consent_store;
mod file;
mod first;
mod forget;
mod kept;
mod record;
mod shared;
mod turn;
mod unwritten;
mod version;

pub use consent_store::Store;
pub(crate) use file::Room;
pub use file::{StateError, generated, key_of};
pub use kept::Kept;
pub(crate) use record::StoredToken;
pub use record::{ConsentRefusal, Owner, StoredConsent};
pub(crate) use turn::StoreTurn;
pub(crate) use version::RecordVersion;
