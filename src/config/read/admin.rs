//! `state` and `admin`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use url::Url;

use super::super::field::{Field, Section};
use super::super::{Admin, AdminToken, State, StateKey};
use super::Reader;
use super::listeners::bind;

impl Reader<'_> {
    /// Where tokens are kept, and what seals them.
    pub(super) fn state(&self, field: Option<Field<'_>>) -> Option<State> {
        // systemd's StateDirectory=.
        let given = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
        let usual = given.unwrap_or_else(|| self.sources.resolve("state"));
        let Some(field) = field else {
            let key = StateKey::File(usual.join("key"));
            return Some(State {
                wanted: false,
                directory: usual,
                key,
            });
        };
        let mut section = field.section()?;
        let directory = match section.take("directory") {
            Some(field) => self.sources.path(&field),
            None => Some(usual),
        };
        let key = section.take("key");
        if let Some(store) = section.take("store") {
            store.one_of(&[("file", ())]);
        }
        section.finish();
        let directory = directory?;
        let key = match key {
            Some(field) => match self.file_or_secret(&field)? {
                Source::File(path) => StateKey::File(path),
                Source::Secret(secret) => StateKey::Given(secret),
            },
            None => StateKey::File(directory.join("key")),
        };
        Some(State {
            wanted: true,
            directory,
            key,
        })
    }

    /// Whoever gets at the tokens by a copy of their directory should not get the key with it.
    pub(super) fn check_key(&self, state: &State, field: Option<&Field<'_>>) {
        let StateKey::File(key) = &state.key else {
            return;
        };
        // A link is where it leads; what is not there yet is where it will be.
        let resolved = |path: &Path| {
            let absolute = || std::path::absolute(path);
            path.canonicalize().or_else(|_| absolute())
        };
        let folder = key.parent().unwrap_or(Path::new(""));
        let beside = match (resolved(folder), resolved(&state.directory)) {
            (Ok(folder), Ok(directory)) => folder.starts_with(directory),
            _ => key.starts_with(&state.directory),
        };
        if state.wanted && beside {
            let message = format!(
                "the key lies beside the tokens that it seals: whoever copies {} can open them. Keep it elsewhere, as in key: {{file: /etc/authrelay/state.key}} or a systemd credential (move {} there, or authorize anew)",
                state.directory.display(),
                key.display()
            );
            let place = field.map(|field| field.place);
            self.warnings.add("state.key", place, message);
        }
    }

    pub(super) fn admin(&self, field: &Field<'_>, state: Option<&State>) -> Option<Admin> {
        let mut section = field.section()?;
        let bind_field = section.require("bind", "an address and port, as in 127.0.0.1:8025");
        let bind = bind_field.as_ref().and_then(bind);
        let tls = match section.take("tls") {
            Some(field) => self.admin_tls(&field).map(Some),
            None => Some(None),
        };
        let public_url = section.take("public_url");
        let token = section.take("token");
        let metrics_public = section
            .take("metrics_public")
            .map_or(Some(true), |field| field.boolean());
        section.finish();
        let (bind, tls) = (bind?, tls?);
        if let Some(field) = &bind_field
            && tls.is_none()
            && !bind.ip().is_loopback()
        {
            field.problem(
                "is not loopback, and its token would cross the network in clear: set tls",
            );
        }
        let public_url = match public_url {
            Some(field) => base_url(&field),
            None => usual_url(bind, tls.is_some()),
        };
        let token = match token {
            Some(field) if field.is_section() => match self.file_or_secret(&field)? {
                Source::File(path) => AdminToken::File(path),
                Source::Secret(secret) => AdminToken::Given(secret),
            },
            Some(field) => AdminToken::Given(self.sources.secret(&field)?),
            None => AdminToken::File(state?.directory.join("admin-token")),
        };
        Some(Admin {
            bind,
            public_url: public_url?,
            tls,
            token,
            metrics_public: metrics_public?,
        })
    }

    fn admin_tls(&self, field: &Field<'_>) -> Option<Arc<super::super::Identity>> {
        let mut section: Section<'_> = field.section()?;
        let certificate = section.require("certificate", "the path of a certificate chain in PEM");
        let key = section.require("key", "the path of the certificate's private key in PEM");
        section.finish();
        self.sources
            .identity(&certificate?, &key?, None)
            .map(Arc::new)
    }

    /// A secret whose file is generated where it is absent.
    fn file_or_secret(&self, field: &Field<'_>) -> Option<Source> {
        if let Some(file) = self.sources.generated(field) {
            return file.map(Source::File);
        }
        self.sources.secret(field).map(Source::Secret)
    }
}

enum Source {
    File(PathBuf),
    Secret(crate::secret::Secret),
}

/// A URL without query, fragment and slash at its end.
fn base_url(field: &Field<'_>) -> Option<Url> {
    let text = field.word()?.trim_end_matches('/');
    match Url::parse(text) {
        Ok(url)
            if matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty() =>
        {
            Some(url)
        }
        _ => field.wrong("must be a URL, as in https://relay.example.com or http://localhost:8025"),
    }
}

/// Entra takes `http://localhost` with any port as a redirect URI.
fn usual_url(bind: SocketAddr, tls: bool) -> Option<Url> {
    let scheme = if tls { "https" } else { "http" };
    let host = match bind.ip() {
        ip if ip.is_loopback() || ip.is_unspecified() => "localhost".to_owned(),
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    };
    Url::parse(&format!("{scheme}://{host}:{}", bind.port())).ok()
}
