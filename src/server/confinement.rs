//! Confinement of a running relay to what its configuration needs of files and ports, and whether a reload stays within
//! it: what was given up at the start cannot be had again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::{
    AuditPath, ClientCredential, Config, GeneratedSecret, Grant, HookTarget, SyslogTransport,
};
use crate::platform;
use crate::platform::confinement::{self, Needs, Outcome};

/// Ports of mail services, identity providers and DNS. A relay all of whose services are at them
/// connects to no others.
const USUAL: [u16; 10] = [25, 53, 80, 110, 143, 443, 465, 587, 993, 995];

/// Confinement that is in force.
#[derive(Debug)]
pub struct Confinement(Needs);

impl Confinement {
    /// Confines this process to what `config` needs, and logs to what. Called while there is no
    /// other thread. `None` where the process is not confined.
    pub fn start(config: &Config) -> Option<Self> {
        if config.runs_programs {
            tracing::info!(
                "not confined: the configuration names commands, which would be confined, too"
            );
            return None;
        }
        for folder in needs(config).write {
            // Who uses it says why it is not there.
            let _ = platform::create_private_folder(&folder);
        }
        let needs = needs(config);
        let outcome = confinement::confine(&needs);
        let ports = match (&outcome, &needs.connect) {
            (Outcome::Unconfined(why), _) => {
                tracing::info!("not confined: {why}");
                return None;
            }
            (Outcome::Files, _) => "any: the kernel cannot confine ports".to_owned(),
            (Outcome::FilesAndPorts, None) => "any".to_owned(),
            (Outcome::FilesAndPorts, Some(ports)) => list(ports.iter()),
        };
        tracing::info!(
            read = list(needs.read.iter().map(|path| path.display())),
            write = list(needs.write.iter().map(|path| path.display())),
            connect = ports,
            "confined by the kernel to the files and TCP ports of the configuration"
        );
        Some(Self(needs))
    }

    /// Whether a configuration of a reload needs nothing beyond.
    ///
    /// # Errors
    ///
    /// A message that names the first need beyond them.
    pub(super) fn check(&self, config: &Config) -> anyhow::Result<()> {
        anyhow::ensure!(
            !config.runs_programs,
            "a command takes a restart: this relay has confined itself, and what it starts, at its start"
        );
        let needs = needs(config);
        for folder in needs.read.iter().chain(&needs.write) {
            anyhow::ensure!(
                self.covers(folder),
                "{} takes a restart: {}",
                folder.display(),
                self.remedy()
            );
        }
        let Some(allowed) = &self.0.connect else {
            return Ok(());
        };
        let (mut ports, others) = ports(config);
        ports.extend(others);
        if let Some(port) = ports.difference(allowed).next() {
            anyhow::bail!(
                "TCP port {port} takes a restart: this relay has confined itself at its start to connections to {}",
                list(allowed.iter())
            );
        }
        Ok(())
    }

    /// Explanation for a file that cannot be read.
    pub(super) fn remedy(&self) -> String {
        let folders = self.0.read.union(&self.0.write);
        format!(
            "this relay has confined itself at its start to files in {}",
            list(folders.map(|path| path.display()))
        )
    }

    fn covers(&self, folder: &Path) -> bool {
        let mut own = self.0.read.iter().chain(&self.0.write);
        own.any(|known| folder.starts_with(known))
            || confinement::system_files().any(|known| folder.starts_with(known))
    }
}

fn list(items: impl Iterator<Item = impl ToString>) -> String {
    items
        .map(|item| item.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// The folder of a file, and that of the file that a link leads to.
fn folders_of(path: &Path) -> impl Iterator<Item = PathBuf> {
    let folder = |path: &Path| match path.parent() {
        Some(folder) if folder == Path::new("") => PathBuf::from("."),
        Some(folder) => folder.to_owned(),
        None => path.to_owned(),
    };
    let real = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let beside = folder(path);
    let beside = beside.canonicalize().unwrap_or_else(|_| real(beside));
    let target = path.canonicalize().ok().map(|path| folder(&path));
    std::iter::once(beside).chain(target)
}

fn needs(config: &Config) -> Needs {
    let registrations = config.registrations.values();
    let federated =
        registrations.filter_map(|registration| match registration.grant.credential() {
            Some(ClientCredential::Federated(path)) => Some(path),
            _ => None,
        });
    let read = config.files.iter().chain(federated);
    let audit = match config.audit.as_ref().and_then(|audit| audit.path.as_ref()) {
        Some(AuditPath::File(path)) => Some(path),
        _ => None,
    };
    let admin = config.admin.iter();
    let tokens = admin.flat_map(|admin| std::iter::once(&admin.token).chain(&admin.viewer_token));
    let tokens = tokens.filter_map(|token| match token {
        GeneratedSecret::File(path) => Some(path),
        GeneratedSecret::Given(_) => None,
    });
    let written = config.log.file.iter().chain(audit).chain(tokens);
    let mut write: BTreeSet<_> = written.flat_map(|path| folders_of(path)).collect();
    // One that is there may be wanted after a reload.
    if config.state.wanted || config.state.directory.is_dir() {
        write.extend(folders_of(&config.state.directory.join("tokens")));
        if let GeneratedSecret::File(path) = &config.state.key {
            write.extend(folders_of(path));
        }
    }
    let (services, mut others) = ports(config);
    let sentinels = config
        .state
        .store
        .as_ref()
        .is_some_and(|store| store.master.is_some());
    let connect = (!sentinels && services.iter().all(|port| USUAL.contains(port))).then(|| {
        others.extend(USUAL);
        others
    });
    Needs {
        read: read.flat_map(|path| folders_of(path)).collect(),
        write,
        connect,
    }
}

/// TCP ports of mail services and identity providers, and those of everything else.
fn ports(config: &Config) -> (BTreeSet<u16>, BTreeSet<u16>) {
    let (mut services, mut others) = (BTreeSet::new(), BTreeSet::new());
    for registration in config.registrations.values() {
        let provider = &registration.provider;
        services.extend(provider.endpoints().map(|endpoint| endpoint.port));
        let endpoints = [
            Some(&registration.token_url),
            registration.authorize_url.as_ref(),
            registration.device_url.as_ref(),
            match &registration.grant {
                Grant::ManagedIdentity { url, .. } => Some(url),
                _ => None,
            },
        ];
        services.extend(
            endpoints
                .into_iter()
                .flatten()
                .filter_map(url::Url::port_or_known_default),
        );
        others.extend(provider.egress.as_ref().map(|egress| egress.port));
    }
    if let Some(users) = config.admin.as_ref().and_then(|admin| admin.users.as_ref()) {
        let issuer = url::Url::parse(&users.issuer).ok();
        services.extend(issuer.as_ref().and_then(url::Url::port_or_known_default));
        others.extend(users.egress.as_ref().map(|egress| egress.port));
    }
    if let Some(store) = &config.state.store {
        others.extend(store.servers.iter().map(|server| server.port));
    }
    if let Some(audit) = &config.audit {
        let syslog = audit.syslog.as_ref();
        others.extend(
            syslog
                .filter(|syslog| syslog.transport != SyslogTransport::Udp)
                .map(|syslog| syslog.address.port),
        );
        others.extend(
            audit
                .http
                .as_ref()
                .and_then(|http| http.url.port_or_known_default()),
        );
    }
    for hook in &config.notify {
        if let HookTarget::Url { url, .. } = &hook.target {
            others.extend(url.port_or_known_default());
        }
    }
    (services, others)
}
