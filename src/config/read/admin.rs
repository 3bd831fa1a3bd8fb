//! Reads `state` and `admin`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use url::Url;

use super::super::field::Field;
use super::super::key::Key;
use super::super::keys::{AdminKeys, StateKeys, Store, TlsFiles};
use super::super::pem;
use super::super::sections::{Admin, AdminToken, Listener, State, StateKey};
use super::super::source::{self, Generated};
use super::super::value::BaseUrl;
use super::listeners::collide;
use super::store;
use super::writable::can_be_written;
use crate::tls::{CertificateFiles, ServerCertificate};

/// Reads the settings of the token store and its sealing key.
pub(super) fn state(root: &Field, keys: Key<StateKeys>) -> Option<State> {
    // Set by systemd's StateDirectory=.
    let given = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
    let usual = given.unwrap_or_else(|| root.sources().resolve("state"));
    let keys = keys.optional()?;
    let wanted = keys.is_some();
    let (directory, key, shared) = match keys {
        Some(keys) => (keys.directory.or(usual)?, keys.key.optional()?, keys.store),
        None => (usual, None, Store::File),
    };
    let key = key.map(|key| match key {
        Generated::File(path) => StateKey::File(path),
        Generated::Given(secret) => StateKey::Given(secret),
    });
    let field = root.at("state");
    let store = match shared {
        Store::File => None,
        Store::Shared(keys) => {
            let given = (&field, key.as_ref());
            store::shared(&field.at("store"), keys, given)?
        }
    };
    Some(State {
        wanted,
        key: key.unwrap_or_else(|| StateKey::File(directory.join("key"))),
        directory,
        store,
    })
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
    if root.sources().tries_writing && directory.exists() && !directory.is_dir() {
        at.problem(format_args!("{} is no folder", directory.display()));
    } else {
        can_be_written(&at, directory);
    }
    let StateKey::File(key) = &state.key else {
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
        field.warn_at(key_path, format_args!(
            "the key lies beside the tokens that it encrypts: anyone who copies {} can open them. Keep it elsewhere, as in key: {{file: /etc/authrelay/state.key}} or a systemd credential (move {} there, or authorize again)",
            directory.display(),
            key.display()
        ));
    }
}

pub(super) fn admin(
    field: &Field,
    keys: AdminKeys,
    state: Option<&State>,
    listeners: &[Arc<Listener>],
) -> Option<Admin> {
    let tls = match keys.tls.optional() {
        Some(Some(files)) => tls(&field.at("tls"), files).map(Some),
        Some(None) => Some(None),
        None => None,
    };
    let (bind, tls) = (keys.bind.required()?, tls?);
    let bind_field = field.at("bind");
    if tls.is_none() && !bind.ip().is_loopback() {
        bind_field
            .problem("is not loopback, and its token would cross the network in clear: set tls");
    }
    if let Some(other) = listeners.iter().find(|other| collide(other.bind, bind)) {
        bind_field.problem(format_args!(
            "the listener {} is on the same address ({})",
            other.name, other.bind
        ));
    }
    let public_url = match keys.public_url.optional() {
        Some(Some(BaseUrl(url))) => Some(url),
        Some(None) => default_url(bind, tls.is_some()),
        None => None,
    };
    let users = match keys.users.optional() {
        Some(Some(keys)) => {
            if !bind.ip().is_loopback() && !field.has_key("public_url") {
                field.missing("public_url", "how browsers reach the relay, as in https://relay.example.com: admin.users needs it");
            }
            super::users::users(&field.at("users"), keys, public_url.as_ref()).map(Some)
        }
        Some(None) => Some(None),
        None => None,
    };
    let token = match keys.token.optional()? {
        Some(generated) => presented(generated),
        None => AdminToken::File(state?.directory.join("admin-token")),
    };
    let viewer_token = keys.viewer_token.optional()?.map(presented);
    if let Some(viewer) = &viewer_token {
        check_viewer_token(&field.at("viewer_token"), viewer, &token);
    }
    Some(Admin {
        bind,
        public_url: public_url?,
        tls: tls.map(Arc::new),
        token,
        viewer_token,
        users: users?.map(Arc::new),
        metrics_public: keys.metrics_public,
    })
}

fn presented(generated: Generated) -> AdminToken {
    match generated {
        Generated::File(path) => AdminToken::File(path),
        Generated::Given(secret) => AdminToken::Given(secret),
    }
}

/// Checks that the viewers' token is not the operators', which allows everything.
fn check_viewer_token(field: &Field, viewer: &AdminToken, operator: &AdminToken) {
    let value = |token: &AdminToken| match token {
        AdminToken::Given(secret) => Some(secret.clone()).filter(|secret| !secret.is_empty()),
        AdminToken::File(path) => source::content(path).filter(|_| field.sources().are_read()),
    };
    let is_same_file = matches!(viewer, AdminToken::File(_)) && viewer == operator;
    let is_same = value(viewer).is_some_and(|viewer| value(operator) == Some(viewer));
    if is_same_file || is_same {
        field.problem("is admin.token, which may do everything: make another");
    }
}

fn tls(field: &Field, files: TlsFiles) -> Option<ServerCertificate> {
    let TlsFiles { certificate, key } = files;
    pem::server_certificate(
        field,
        CertificateFiles {
            certificate,
            key,
            client_ca: None,
        },
    )
}

/// Default URL, with `localhost` for loopback: Entra accepts `http://localhost` with any port as a
/// redirect URI.
fn default_url(bind: SocketAddr, tls: bool) -> Option<Url> {
    let scheme = if tls { "https" } else { "http" };
    let host = match bind.ip() {
        ip if ip.is_loopback() || ip.is_unspecified() => "localhost".to_owned(),
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    };
    Url::parse(&format!("{scheme}://{host}:{}", bind.port())).ok()
}
