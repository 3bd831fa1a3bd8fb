//! A relay in front of the emulated Microsoft 365, for one test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use authrelay::certs::Authority;
use authrelay::config::{self, Config, LoadMode, LogFormat};
use authrelay::sandbox::{Fault, LOGIN, Options, PASSWORD, Ports, Sandbox};
use authrelay::server::{Control, Server, start_session_threads};
use authrelay::wire::Protocol;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Level;
use tracing::subscriber::DefaultGuard;

use crate::client::Client;
use crate::clock::patient;
use crate::log::Log;

/// How a relay is set up; the default is the sandbox's own configuration.
#[derive(Default)]
pub struct Setup {
    options: Options,
    log: config::Log,
    /// Texts of the configuration, and what stands there instead.
    replace: Vec<(String, String)>,
    append: String,
    /// Names and texts of files beside it.
    files: Vec<(String, String)>,
    starttls_upstreams: bool,
    upstream_hosts: Option<String>,
    token_url: Option<String>,
    /// Processors for whose number sessions have threads of their own.
    processors: Option<usize>,
}

impl Setup {
    /// With threads for sessions as on a machine of so many processors.
    #[must_use]
    pub fn processors(mut self, count: usize) -> Self {
        self.processors = Some(count);
        self
    }

    /// With `limits`, as in `login_timeout: 5s, sessions: 1`.
    pub fn limits(limits: &str) -> Self {
        Self::default().append(&format!("limits: {{{limits}}}\n"))
    }

    /// A further section, or the end of the last one.
    #[must_use]
    pub fn append(mut self, text: &str) -> Self {
        self.append.push_str(text);
        self
    }

    /// `AUTHORITY` in what stands there instead is the sandbox's identity provider.
    #[must_use]
    pub fn replace(mut self, text: &str, by: &str) -> Self {
        self.replace.push((text.to_owned(), by.to_owned()));
        self
    }

    /// A file beside the configuration.
    #[must_use]
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Without the mail service's limits of a mailbox, for more sessions and messages than they
    /// allow.
    #[must_use]
    pub fn unlimited(mut self) -> Self {
        self.options.smtp_messages = None;
        let limits =
            "ca: ca.pem\n    smtp_limits: {connections: 10000, messages_per_minute: 100000}";
        self.replace("ca: ca.pem", limits)
    }

    /// With another share of each mailbox, as in `connections: 9, messages_per_minute: 99`.
    #[must_use]
    pub fn smtp_limits(self, limits: &str) -> Self {
        let limits = format!("ca: ca.pem\n    smtp_limits: {{{limits}}}");
        self.replace("ca: ca.pem", &limits)
    }

    /// Every listener with TLS: `starttls` or `implicit`.
    #[must_use]
    pub fn tls(self, mode: &str) -> Self {
        let tls = format!(
            "provider: microsoft365, tls: {{mode: {mode}, certificate: server.pem, key: server.key}}}}"
        );
        self.replace("provider: microsoft365}", &tls)
    }

    /// IMAP, POP3 and SMTP upstreams all with STARTTLS.
    #[must_use]
    pub fn starttls_upstreams(mut self) -> Self {
        self.starttls_upstreams = true;
        self
    }

    /// The same, where the fault is one of STARTTLS.
    #[must_use]
    pub fn starttls_upstreams_for(self, fault: Fault) -> Self {
        if fault.name().starts_with("starttls-") {
            self.starttls_upstreams()
        } else {
            self
        }
    }

    /// Every upstream at `host: …, port: …,`.
    #[must_use]
    pub fn upstream_hosts(mut self, host: &str) -> Self {
        self.upstream_hosts = Some(host.to_owned());
        self
    }

    /// Another token endpoint than the sandbox's.
    #[must_use]
    pub fn token_url(mut self, url: &str) -> Self {
        self.token_url = Some(url.to_owned());
        self
    }

    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    #[must_use]
    pub fn log(mut self, format: LogFormat, level: Level) -> Self {
        self.log = config::Log {
            format,
            level,
            ..config::Log::default()
        };
        self
    }

    /// The emulation, and the configuration of a relay in front of it.
    pub async fn prepare(&self) -> Prepared {
        // Thousands of sockets, clients, relay and mail service, are in this one process.
        rlimit::increase_nofile_limit(rlimit::INFINITY).unwrap();
        let sandbox = Sandbox::start(self.options.clone()).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new("relay test CA").unwrap();
        let issued = authority.issue(&["localhost".into()]).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).unwrap();
        };
        write("server.pem", &issued.chain);
        write("server.key", &issued.key);
        write("ca.pem", sandbox.ca_pem());
        write("proxy.yaml", &self.yaml(&sandbox));
        for (name, text) in &self.files {
            write(name, text);
        }
        Prepared {
            sandbox,
            authority: authority.pem(),
            directory,
        }
    }

    pub async fn start(self) -> Relay {
        let (log, guard) = Log::capture(&self.log);
        let prepared = self.prepare().await;
        let server = Server::bind(&prepared.config()).unwrap();
        let addresses = server.addresses();
        let control = server.control().clone();
        if let Some(count) = self.processors {
            control.set_threads(start_session_threads(count).unwrap());
        }
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.serve(stop.clone().cancelled_owned()));
        Relay {
            log,
            trust: prepared.trust(),
            authority: prepared.authority,
            sandbox: prepared.sandbox,
            addresses,
            control,
            stop,
            serving,
            directory: prepared.directory,
            _guard: guard,
        }
    }

    fn yaml(&self, sandbox: &Sandbox) -> String {
        let mut yaml = sandbox.yaml(Ports {
            imap: 0,
            pop3: 0,
            smtp: 0,
        });
        let mut replace = |text: &str, by: &str| {
            assert!(yaml.contains(text), "{text} is not in\n{yaml}");
            yaml = yaml.replace(text, by);
        };
        if self.starttls_upstreams {
            for (implicit, starttls) in [
                (sandbox.imap(), sandbox.imap_starttls()),
                (sandbox.pop3(), sandbox.pop3_starttls()),
            ] {
                replace(
                    &format!("port: {}, tls: implicit", implicit.port()),
                    &format!("port: {}, tls: starttls", starttls.port()),
                );
            }
        }
        if let Some(host) = &self.upstream_hosts {
            for port in [sandbox.imap(), sandbox.pop3(), sandbox.smtp()] {
                replace(&format!("host: localhost, port: {},", port.port()), host);
            }
        }
        if let Some(url) = &self.token_url {
            replace(
                &format!("{}/{{tenant}}/oauth2/v2.0/token", sandbox.authority()),
                url,
            );
        }
        for (text, by) in &self.replace {
            replace(text, &by.replace("AUTHORITY", &sandbox.authority()));
        }
        yaml + &self.append
    }
}

/// What a relay needs around it.
pub struct Prepared {
    pub sandbox: Sandbox,
    /// Signed the listeners' certificate; PEM.
    authority: String,
    directory: tempfile::TempDir,
}

impl Prepared {
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("proxy.yaml")
    }

    /// For clients of the listeners.
    pub fn trust(&self) -> Arc<rustls::ClientConfig> {
        trust(&self.authority, rustls::ALL_VERSIONS)
    }

    pub fn config(&self) -> Config {
        Config::load(&self.path(), LoadMode::Run).unwrap_or_else(|problems| {
            let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
            let yaml = std::fs::read_to_string(self.path()).unwrap();
            panic!("{}\n{yaml}", problems.join("\n"))
        })
    }
}

/// Clients that trust one authority.
pub fn trust(
    pem: &str,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// A relay that serves, and everything around it.
pub struct Relay {
    pub sandbox: Sandbox,
    pub log: Log,
    /// For clients of its TLS listeners.
    pub trust: Arc<rustls::ClientConfig>,
    authority: String,
    addresses: Vec<(String, SocketAddr)>,
    pub control: Arc<Control>,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
    directory: tempfile::TempDir,
    _guard: DefaultGuard,
}

impl Relay {
    pub async fn start() -> Self {
        Setup::default().start().await
    }

    /// Who signed the listeners' certificate; PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Where `proxy.yaml` and the state are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where a listener is; the administrators' one is `admin`.
    pub fn listener(&self, name: &str) -> SocketAddr {
        let named = |(other, _): &&(String, SocketAddr)| other == name;
        self.addresses.iter().find(named).unwrap().1
    }

    pub fn address(&self, protocol: Protocol) -> SocketAddr {
        self.listener(protocol.name())
    }

    /// A client that has seen nothing yet.
    pub async fn dial(&self, protocol: Protocol) -> Client {
        Client::dial(protocol, self.address(protocol)).await
    }

    /// A client that has read the greeting, and over SMTP the answer to EHLO.
    pub async fn connect(&self, protocol: Protocol) -> Client {
        let mut client = self.dial(protocol).await;
        greet(&mut client).await;
        client
    }

    /// A client that is logged in.
    pub async fn session(&self, protocol: Protocol) -> Client {
        let mut client = self.connect(protocol).await;
        let reply = client.log_in(LOGIN, PASSWORD).await;
        assert!(is_success(protocol, &reply), "{reply}");
        client
    }

    /// Changes texts of the configuration; a reload is the test's affair.
    pub fn rewrite(&self, replace: &[(&str, &str)]) {
        let path = self.directory.path().join("proxy.yaml");
        let mut yaml = std::fs::read_to_string(&path).unwrap();
        for (text, by) in replace {
            assert!(yaml.contains(text), "{text} is not in\n{yaml}");
            yaml = yaml.replace(text, by);
        }
        std::fs::write(&path, yaml).unwrap();
    }

    /// For clients that speak these versions of TLS alone.
    pub fn trust_with(
        &self,
        version: &'static rustls::SupportedProtocolVersion,
    ) -> Arc<rustls::ClientConfig> {
        trust(&self.authority, &[version])
    }

    /// Asks the relay to end; sessions drain.
    pub fn shut_down(&self) {
        self.stop.cancel();
    }

    /// Asks the relay to end and waits until it has.
    pub async fn end(self) -> Log {
        self.stop.cancel();
        patient("the end of the relay", self.serving)
            .await
            .unwrap()
            .unwrap();
        self.log
    }

    /// Zero of everything that costs somebody else: tokens and upstream connections.
    pub fn assert_untouched(&self, row: &str) {
        let seen = self.sandbox.seen();
        assert_eq!(seen.token_connections, 0, "{row}: {seen:?}");
        assert_eq!(seen.connections.total(), 0, "{row}: {seen:?}");
    }
}

/// Reads the greeting; over SMTP says EHLO.
pub async fn greet(client: &mut Client) {
    let greeting = client.line().await;
    let expected = match client.protocol {
        Protocol::Imap => "* OK [CAPABILITY ",
        Protocol::Pop3 => "+OK ",
        Protocol::Smtp => "220 ",
    };
    assert!(greeting.starts_with(expected), "{greeting}");
    if client.protocol == Protocol::Smtp {
        client.send("EHLO client.test\r\n").await;
        let answer = client.reply().await;
        assert!(answer.starts_with("250-authrelay\r\n"), "{answer}");
    }
}

pub fn is_success(protocol: Protocol, reply: &str) -> bool {
    reply.starts_with(match protocol {
        Protocol::Imap => "a OK ",
        Protocol::Pop3 => "+OK ",
        Protocol::Smtp => "235 ",
    })
}
