//! The configurations of `docs/applications/`, against the sandbox: each page's own YAML, with the
//! sandbox's hosts and ports in place of Microsoft's.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use authrelay::certs::Authority;
use authrelay::config::{Config, LoadMode};
use authrelay::sandbox::{Options, Sandbox};
use authrelay::server::Server;
use authrelay::wire::Protocol::{self, Imap, Pop3, Smtp};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::client::Client;
use crate::stage::{greet, is_success};
use crate::{consent_at, log};

/// A page's configuration, serving.
struct Application {
    sandbox: Sandbox,
    addresses: Vec<(String, SocketAddr)>,
    trust: Arc<rustls::ClientConfig>,
    log: log::Log,
    directory: tempfile::TempDir,
    _serving: tokio::task::JoinHandle<std::io::Result<()>>,
    _guard: tracing::subscriber::DefaultGuard,
}

/// The first YAML block of a page.
fn yaml_of(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/applications")
        .join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once("```yaml\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

impl Application {
    /// With the page's files, and `changes` besides those that every page needs.
    async fn start(page: &str, mailboxes: &[&str], changes: &[(&str, &str)]) -> Self {
        let (log, guard) = log::Log::capture(&authrelay::config::Log::default());
        let sandbox = Sandbox::start(Options {
            mailboxes: mailboxes.iter().map(|name| (*name).to_owned()).collect(),
            ..Options::default()
        })
        .await
        .unwrap();
        let mut yaml = yaml_of(page);
        for (from, to) in changes {
            assert!(yaml.contains(from), "{from} is not in\n{yaml}");
            yaml = yaml.replace(from, to);
        }
        let authority = sandbox.authority();
        let provider = match yaml.contains("provider: outlook") {
            true => "outlook",
            false => "microsoft365",
        };
        let upstreams = format!(
            "    imap: {{host: localhost, port: {}}}\n    pop3: {{host: localhost, port: {}}}\n    smtp: {{host: localhost, port: {}}}\n    \
             authorize_url: \"{authority}/common/oauth2/v2.0/authorize\"\n    token_url: \"{}\"\n    ca: ca.pem\n",
            sandbox.imap().port(),
            sandbox.pop3().port(),
            sandbox.smtp().port(),
            sandbox.token_url_tls()
        );
        let head = format!("providers:\n  {provider}:\n");
        yaml = match yaml.contains(&head) {
            true => yaml.replace(&head, &format!("{head}{upstreams}")),
            false => format!("{head}{upstreams}\n{yaml}"),
        };
        // The page's own ports may be taken, and need a root.
        for port in ["1143", "1110", "1587", "993", "995", "587", "8443", "8025"] {
            yaml = yaml
                .replace(&format!(":{port}}}"), ":0}")
                .replace(&format!(":{port},"), ":0,");
        }
        yaml = yaml
            .replace("bind: 0.0.0.0:8443", "bind: 127.0.0.1:0")
            .replace(
                "bind: 127.0.0.1:8025",
                "bind: 127.0.0.1:0\n  public_url: http://localhost:8025",
            )
            .replace("0.0.0.0", "127.0.0.1")
            .replace("10.1.0.0/16", "127.0.0.0/8")
            .replace("{env: EGRESS_PW}", "egress-pw")
            .replace("SERVICEOPS_SECRET", "SECRET")
            .replace("AIOPS_SECRET", "SECRET")
            .replace("BIZAGI_SECRET", "SECRET")
            .replace("{env: SECRET}", "{file: app.secret}");
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let own = Authority::new("company CA").unwrap();
        let issued = own
            .issue(&["localhost".into(), "127.0.0.1".into()])
            .unwrap();
        write("certs/server.pem", &issued.chain);
        write("certs/server.key", &issued.key);
        write("ca.pem", sandbox.ca_pem());
        for name in ["app.secret", "osticket.secret"] {
            write(name, authrelay::sandbox::CLIENT_SECRET);
        }
        for name in ["helpdesk.pw", "alerts.pw", "osticket.pw", "bizagi.pw"] {
            write(name, "local-pw\n");
        }
        write("proxy.yaml", &yaml);
        let config = Config::load(&directory.path().join("proxy.yaml"), LoadMode::Run)
            .unwrap_or_else(|problems| panic!("{problems:#?}\n{yaml}"));
        let server = Server::bind(&config).unwrap();
        let addresses = server.addresses();
        let serving = tokio::spawn(server.serve(std::future::pending()));
        Self {
            addresses,
            trust: trust(&own.pem()),
            log,
            directory,
            sandbox,
            _serving: serving,
            _guard: guard,
        }
    }

    fn address(&self, name: &str) -> SocketAddr {
        self.addresses
            .iter()
            .find(|(other, _)| other == name)
            .unwrap()
            .1
    }

    /// As the application does it: TLS where the page says so.
    async fn log_in(
        &self,
        protocol: Protocol,
        tls: Option<bool>,
        login: &str,
        password: &str,
    ) -> String {
        let mut client = Client::dial(protocol, self.address(protocol.name())).await;
        if tls == Some(true) {
            client = client.encrypt(self.trust.clone()).await;
        }
        greet(&mut client).await;
        if tls == Some(false) {
            client.send("STARTTLS\r\n").await;
            client.line().await;
            client = client.encrypt(self.trust.clone()).await;
            client.send("EHLO app\r\n").await;
            client.reply().await;
        }
        client.log_in(login, password).await
    }

    async fn assert_logs_in(
        &self,
        protocol: Protocol,
        tls: Option<bool>,
        login: &str,
        password: &str,
    ) {
        let reply = self.log_in(protocol, tls, login, password).await;
        assert!(
            is_success(protocol, &reply),
            "{protocol}: {reply}\n{}",
            self.log.text()
        );
    }

    /// A consent by the relay's own callback, over HTTPS where the page says so.
    async fn consent(&self, login: &str) -> String {
        let token =
            std::fs::read_to_string(self.directory.path().join("state/admin-token")).unwrap();
        let admin = self.address("admin");
        let scheme = match self.directory.path().join("https").exists() {
            true => "https",
            false => "http",
        };
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(self.roots());
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .build()
            .unwrap();
        let base = format!("{scheme}://localhost:{}", admin.port());
        let answer = http
            .post(format!("{base}/api/accounts/{login}/authorize"))
            .bearer_auth(token.trim())
            .send()
            .await
            .unwrap();
        let answer: serde_json::Value = answer.json().await.unwrap();
        let back = consent_at(answer["url"].as_str().unwrap()).await;
        let (_, rest) = back.split_once("/oauth/callback").unwrap();
        let page = http
            .get(format!("{base}/oauth/callback{rest}"))
            .send()
            .await
            .unwrap();
        page.text().await.unwrap()
    }

    fn roots(&self) -> Vec<CertificateDer<'static>> {
        let pem = std::fs::read(self.directory.path().join("certs/server.pem")).unwrap();
        CertificateDer::pem_slice_iter(&pem)
            .skip(1)
            .map(Result::unwrap)
            .collect()
    }
}

fn trust(pem: &str) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Arc::new(
        rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

/// A company proxy: CONNECT with a password, counted.
async fn company_proxy(wants: Option<&'static str>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tunnels = Arc::<AtomicUsize>::default();
    let count = tunnels.clone();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let count = count.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let target = head.split(' ').nth(1).unwrap().to_owned();
                assert!(head.starts_with("CONNECT "), "{head}");
                let known = wants.is_none_or(|pair| {
                    head.to_lowercase()
                        .contains(&format!("proxy-authorization: basic {pair}").to_lowercase())
                });
                if !known {
                    let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
                    return client.write_all(refusal).await.unwrap();
                }
                count.fetch_add(1, Ordering::SeqCst);
                let mut upstream = TcpStream::connect(target).await.unwrap();
                client
                    .write_all(b"HTTP/1.1 200 OK\r\nVia: company\r\n\r\n")
                    .await
                    .unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
            });
        }
    });
    (port, tunnels)
}

#[tokio::test]
async fn motadata_serviceops() {
    // relay:egress-pw
    let (port, tunnels) = company_proxy(Some("cmVsYXk6ZWdyZXNzLXB3")).await;
    let proxy = format!("http://127.0.0.1:{port}");
    let application = Application::start(
        "motadata-serviceops.md",
        &["helpdesk@contoso.com"],
        &[("http://proxy.example.com:3128", &proxy)],
    )
    .await;
    std::fs::write(application.directory.path().join("https"), "").unwrap();
    let page = application.consent("helpdesk@contoso.com").await;
    assert!(page.contains("Authorized"), "{page}");
    for (protocol, tls) in [(Imap, true), (Pop3, true), (Smtp, false)] {
        application
            .assert_logs_in(protocol, Some(tls), "helpdesk@contoso.com", "local-pw")
            .await;
    }
    // The token request and three mail connections.
    assert_eq!(tunnels.load(Ordering::SeqCst), 4);
    let sessions = application.log.sessions(3).await;
    assert_eq!(sessions[0]["credential"], "serviceops");
}

#[tokio::test]
async fn motadata_aiops() {
    let (port, tunnels) = company_proxy(None).await;
    let proxy = format!("http://127.0.0.1:{port}");
    let application = Application::start(
        "motadata-aiops.md",
        &["alerts@outlook.com"],
        &[("http://proxy.example.com:3128", &proxy)],
    )
    .await;
    std::fs::write(application.directory.path().join("https"), "").unwrap();
    application
        .sandbox
        .set_fault(Some(authrelay::sandbox::Fault::TokenOpaque));
    let page = application.consent("alerts@outlook.com").await;
    assert!(page.contains("Authorized"), "{page}");
    application
        .assert_logs_in(Imap, Some(true), "alerts@outlook.com", "local-pw")
        .await;
    application
        .assert_logs_in(Smtp, Some(false), "alerts@outlook.com", "local-pw")
        .await;
    // The token, the mail service's verdict on it (its claims say nothing), two sessions.
    assert_eq!(tunnels.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn kaseya_bms() {
    let application = Application::start("kaseya-bms.md", &["tickets@contoso.com"], &[]).await;
    // The mailbox's own password, which the sandbox knows.
    let password = authrelay::sandbox::PASSWORD;
    application
        .assert_logs_in(Imap, None, "tickets@contoso.com", password)
        .await;
    application
        .assert_logs_in(Smtp, None, "Tickets@Contoso.com", password)
        .await;
    let seen = application.sandbox.seen();
    assert_eq!(seen.token_requests, 1, "{:?}", seen.token);
    assert!(seen.token[0].starts_with("password "), "{:?}", seen.token);
    let reply = application
        .log_in(Imap, None, "tickets@contoso.com", "wrong")
        .await;
    assert!(reply.starts_with("a NO [AUTHENTICATIONFAILED] "), "{reply}");
}

#[tokio::test]
async fn osticket() {
    let application = Application::start("osticket.md", &["support@contoso.com"], &[]).await;
    let page = application.consent("support@contoso.com").await;
    // The sandbox's person is tickets@contoso.test: the classic mistake, and it is said.
    assert!(
        page.contains("tickets@contoso.test signed in, and the mailbox is support@contoso.com"),
        "{page}"
    );
    for protocol in Protocol::ALL {
        application
            .assert_logs_in(protocol, None, "support@contoso.com", "local-pw")
            .await;
    }
    let seen = application.sandbox.seen();
    assert!(
        seen.mailbox_users
            .iter()
            .all(|user| user == "support@contoso.com")
    );
}

#[tokio::test]
async fn bizagi() {
    let application = Application::start(
        "bizagi.md",
        &["notify@contoso.com", "cases@contoso.com"],
        &[],
    )
    .await;
    application
        .assert_logs_in(Smtp, None, "notify@contoso.com", "local-pw")
        .await;
    application
        .assert_logs_in(Pop3, None, "notify@contoso.com", "local-pw")
        .await;
    application
        .assert_logs_in(Imap, None, "cases@contoso.com", "local-pw")
        .await;
    let seen = application.sandbox.seen();
    assert_eq!(seen.token_requests, 1, "one token serves every mailbox");
    assert!(
        seen.token[0].contains("https://outlook.office365.com/.default"),
        "{:?}",
        seen.token
    );
    let reply = application
        .log_in(Smtp, None, "cases@contoso.com", "local-pw")
        .await;
    assert!(reply.starts_with("535 5.7.8 "), "{reply}");
}
