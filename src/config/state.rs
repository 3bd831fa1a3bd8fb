//! Reads `state`: the folder of tokens, the key that seals them, the store of several relays.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::field::Field;
use super::key::{Key, Value, section};
use super::kind::Kind;
use super::source::GeneratedSecret;
use super::store::{SharedStore, SharedStoreKeys};
use super::writable::can_be_written;

section! {
    /// Settings of the state on disk, from `state`.
    pub struct State from StateKeys {
        /// Folder, mode 0700; created if absent
        pub directory: PathBuf: "`$STATE_DIRECTORY`, else `./state`",
        /// Secret that encrypts the tokens, at least 16 octets; an absent file is created. `check` warns if it is in the folder of the tokens. With systemd: `{file: /run/credentials/authrelay.service/key}`
        pub key: GeneratedSecret: "`{file: DIRECTORY/key}`",
        /// `file`: the folder only. Otherwise a Redis or Valkey server that several relays share, in addition to the folder. See [Several relays](docs/several-relays.md)
        pub store: Option<Arc<SharedStore>> as Store = "file",
    }
    with {
        /// Whether state is kept: the file has `state`, or a grant stores tokens.
        pub wanted: bool,
    }
}

/// Place of the records, from `state.store`.
#[derive(Debug, Clone)]
pub(super) enum Store {
    /// A file for each login, on this relay alone.
    File,
    /// Several relays as one.
    Shared(SharedStoreKeys),
}

impl Value for Store {
    fn read(field: &Field) -> Option<Self> {
        if field.is_word("file") {
            return Some(Self::File);
        }
        SharedStoreKeys::read(field).map(Self::Shared)
    }

    fn kind() -> Kind {
        Kind::words(&["file"]).or(SharedStoreKeys::kind())
    }
}

/// Reads the settings of the token store and its sealing key.
pub(super) fn state(root: &Field, keys: Key<StateKeys>) -> Option<State> {
    let mut keys = keys.required()?;
    let store = match keys.store.take().required()? {
        Store::File => None,
        Store::Shared(store) => {
            let field = root.at("state");
            check_shared_key(&field, &keys.key);
            store.build(&field.at("store"))?
        }
    };
    keys.directory.default_from(|| {
        // Set by systemd's StateDirectory=.
        let given = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
        Some(given.unwrap_or_else(|| root.sources().resolve("state")))
    });
    let folder = keys.directory.given();
    let key = folder.map(|folder| GeneratedSecret::File(folder.join("key")));
    keys.key.default_from(|| key);
    Some(State {
        wanted: root.has_key("state"),
        ..keys.finish(store)?
    })
}

/// Checks that the sealing key exists before the first start: all relays must have the same.
fn check_shared_key(field: &Field, key: &Key<GeneratedSecret>) {
    match key {
        Key::Absent => field.missing("key", "the key that all relays with this store have"),
        Key::Given(GeneratedSecret::File(path)) if field.sources().are_read() && !path.exists() => {
            field.at("key").problem(
                "names a file that is absent; with a shared store all relays have the same key, and none is made",
            );
        }
        Key::Given(_) | Key::Broken => {}
    }
}

/// Checks that the state directory is a folder, and warns if the sealing key is inside it: a copy
/// of the folder would then contain the key too.
pub(super) fn check_state(state: &State, root: &Field) {
    if !state.wanted {
        return;
    }
    let field = root.at("state");
    let directory = &state.directory;
    let at = field.at("directory");
    // A link that leads nowhere is in the way as well.
    let is_there = directory.symlink_metadata().is_ok();
    if root.sources().tries_writing() && is_there && !directory.is_dir() {
        at.problem(format_args!("{} is not a folder", directory.display()));
    } else {
        can_be_written(&at, directory);
    }
    let GeneratedSecret::File(key) = &state.key else {
        return;
    };
    // Links are resolved; a missing path is made absolute.
    let resolved = |path: &Path| {
        let absolute = || std::path::absolute(path);
        path.canonicalize().or_else(|_| absolute())
    };
    let folder = key.parent().unwrap_or(Path::new(""));
    let beside = match (resolved(folder), resolved(directory)) {
        (Ok(folder), Ok(directory)) => folder.starts_with(directory),
        _ => key.starts_with(directory),
    };
    if beside {
        let (field, key_path) = match root.has_key("state") {
            true => (&field, "key"),
            false => (root, "state.key"),
        };
        field.named_at(key_path).warn(format_args!(
            "the key lies beside the tokens that it encrypts: anyone who copies {} can open them. Keep it elsewhere, as in key: {{file: /etc/authrelay/state.key}} or a systemd credential (move {} there, or authorize again)",
            directory.display(),
            key.display()
        ));
    }
}
