//! Requirement 17: what TLS listeners show, that it is replaced without a restart, and the
//! certificates that they ask clients for.

use std::sync::Arc;
use std::time::Duration;

use authrelay::certs::Authority;
use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::wire::Protocol::{self, Imap};
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::Client;
use crate::clock::{Clock, patient, still};
use crate::server_names::{assert_logs_in, openssl};
use crate::stage::{Relay, Setup, greet, is_success, trust};

/// Signs the clients' certificates.
struct Clients(CertifiedIssuer<'static, KeyPair>);

impl Clients {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Of a client with these names.
    fn issue(&self, names: &[SanType]) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names.to_vec();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        (certificate.der().clone(), key)
    }
}

fn host(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn address(name: &str) -> SanType {
    SanType::Rfc822Name(name.try_into().unwrap())
}

/// A client that shows a certificate.
fn showing(
    relay: &Relay,
    version: &'static rustls::SupportedProtocolVersion,
    (certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
) -> Arc<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(relay.authority().as_bytes()).unwrap();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config)
}

/// Listeners that ask for certificates; the account's password wants one of `name` besides.
async fn asking(clients: &Clients, mode: &str, name: &str) -> Relay {
    Setup::default()
        .file("clients.pem", &clients.0.pem())
        .tls(mode)
        .replace(
            "key: server.key}",
            "key: server.key, client_ca: clients.pem}",
        )
        .replace(
            &format!("    password: \"{PASSWORD}\"\n"),
            &format!(
                "    passwords: [{{name: app, password: \"{PASSWORD}\", certificate: {name}}}]\n"
            ),
        )
        .log(authrelay::config::LogFormat::Json, tracing::Level::DEBUG)
        .start()
        .await
}

/// Under TLS, and greeted.
async fn encrypted(
    relay: &Relay,
    protocol: Protocol,
    mode: &str,
    config: Arc<ClientConfig>,
) -> Client {
    if mode == "implicit" {
        let mut client = relay.dial(protocol).await.encrypt(config).await;
        greet(&mut client).await;
        return client;
    }
    let mut client = relay.connect(protocol).await;
    let command = match protocol {
        Imap => "a STARTTLS\r\n",
        Protocol::Pop3 => "STLS\r\n",
        Protocol::Smtp => "STARTTLS\r\n",
    };
    client.send(command).await;
    client.reply().await;
    let mut client = client.encrypt(config).await;
    if protocol == Protocol::Smtp {
        client.send("EHLO client.test\r\n").await;
        client.reply().await;
    }
    client
}

#[test]
fn r17_client_certificates_open_accounts_by_their_names() {
    let clients = Clients::new();
    let clients = &clients;
    for (configured, shown, good) in [
        (
            "OsTicket.contoso.com",
            vec![host("other.test"), host("osticket.CONTOSO.com")],
            true,
        ),
        (
            "helpdesk@contoso.com",
            vec![address("helpdesk@Contoso.com")],
            true,
        ),
        (
            "helpdesk@contoso.com",
            vec![address("HelpDesk@contoso.com")],
            false,
        ),
        ("osticket.contoso.com", vec![host("contoso.com")], false),
        ("osticket.contoso.com", vec![host("*.contoso.com")], false),
        ("contoso.com", vec![address("helpdesk@contoso.com")], false),
        ("osticket.contoso.com", vec![], false),
    ] {
        for (mode, version) in [
            ("implicit", &TLS13),
            ("implicit", &TLS12),
            ("starttls", &TLS13),
        ] {
            for protocol in Protocol::ALL {
                let shown = &shown;
                still(|_| async move {
                    let relay = asking(clients, mode, configured).await;
                    let config = showing(&relay, version, clients.issue(shown));
                    let mut client = encrypted(&relay, protocol, mode, config).await;
                    let reply = client.log_in(LOGIN, PASSWORD).await;
                    assert_eq!(is_success(protocol, &reply), good, "{configured}: {reply}");
                    if !good {
                        assert_eq!(relay.log.faults(), ["client: credentials"]);
                        relay.assert_untouched(configured);
                    }
                    drop(client);
                    let shown = relay.log.of_session("client_tls").await;
                    assert!(shown.starts_with("TLSv1."), "{shown}");
                });
            }
        }
    }
}

/// Without a certificate, and with one of another authority, there is no session.
#[test]
fn r17_a_client_certificate_is_required() {
    let clients = Clients::new();
    let stranger = Clients::new();
    for version in [&TLS12, &TLS13] {
        for protocol in Protocol::ALL {
            for shown in [None, Some(stranger.issue(&[host("app.test")]))] {
                let clients = &clients;
                still(|_| async move {
                    let relay = asking(clients, "implicit", "app.test").await;
                    let config = match shown {
                        None => relay.trust_with(version),
                        Some(shown) => showing(&relay, version, shown),
                    };
                    let name = ServerName::try_from("localhost").unwrap();
                    let tcp = TcpStream::connect(relay.address(protocol)).await.unwrap();
                    let shaken =
                        patient("TLS", TlsConnector::from(config).connect(name, tcp)).await;
                    // TLS 1.3's client is done before it is refused.
                    if let Ok(mut tls) = shaken {
                        let mut said = Vec::new();
                        let read = tokio::io::AsyncReadExt::read_to_end(&mut tls, &mut said);
                        assert!(patient("the end", read).await.is_err());
                        assert_eq!(said, b"");
                    }
                    let session = relay.log.sessions(1).await.remove(0);
                    assert_eq!(session["fault"], "client: tls");
                    let fault = relay.log.named("fault").remove(0);
                    assert!(
                        fault["remedy"].as_str().unwrap().contains("client_ca"),
                        "{fault}"
                    );
                    relay.assert_untouched("no certificate");
                });
            }
        }
    }
}

/// Whether a listener shows a certificate of this authority.
async fn shows(address: std::net::SocketAddr, authority: &str) -> bool {
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(trust(authority, rustls::ALL_VERSIONS));
    patient("TLS", connector.connect(name, tcp)).await.is_ok()
}

/// Lets the relay look at its files.
async fn look(clock: &Clock) {
    let hour = Duration::from_secs(3600);
    assert!(clock.elapsed() < hour, "the files were not looked at");
    clock.advance(Duration::from_secs(10)).await;
}

#[test]
fn r17_certificates_are_replaced_without_a_restart() {
    still(|clock| async move {
        let setup = Setup::default().tls("implicit").append(
            "admin: {bind: \"127.0.0.1:0\", public_url: \"https://localhost:8025\", token: admin-token-9Zk4, tls: {certificate: server.pem, key: server.key}}\n",
        );
        let relay = setup.start().await;
        let old = relay.authority().to_owned();
        let doors = ["imap", "pop3", "smtp", "admin"].map(|name| relay.listener(name));
        let mut before = relay.dial(Imap).await.encrypt(relay.trust.clone()).await;
        greet(&mut before).await;
        let reply = before.log_in(LOGIN, PASSWORD).await;
        assert!(is_success(Imap, &reply), "{reply}");

        let authority = Authority::new("the next CA").unwrap();
        let issued = authority.issue(&["localhost".into()]).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(relay.directory().join(name), text).unwrap();
        };
        // Half of the pair: the old one stays, and that is said once for each listener.
        write("server.pem", &issued.chain);
        for _ in 0..3 {
            look(&clock).await;
            for door in doors {
                assert!(shows(door, &old).await);
            }
        }
        let kept = "cannot take over the changed certificate";
        while relay.log.named(kept).len() < doors.len() {
            look(&clock).await;
            assert!(shows(doors[0], &old).await);
        }
        let told = relay.log.named(kept);
        assert_eq!(told.len(), doors.len(), "{told:?}");
        assert!(
            told[0]["error"]
                .as_str()
                .unwrap()
                .contains("server.key is not the key")
        );
        assert_eq!(relay.log.named("certificate replaced").len(), 0);

        // The other half.
        write("server.key", &issued.key);
        while relay.log.named("certificate replaced").len() < doors.len() {
            look(&clock).await;
            assert!(relay.log.named(kept).len() <= doors.len());
            // The relay's files are read by another thread.
            let _ = shows(doors[0], &old).await;
        }
        for door in doors {
            assert!(shows(door, &authority.pem()).await);
            assert!(!shows(door, &old).await);
        }
        let said = before.ask("b NOOP\r\n", "\r\n").await;
        assert!(said.starts_with("b OK"), "{said}");
    });
}

/// The authorities of clients are replaced with the rest, and a session of before is not resumed.
#[test]
fn r17_authorities_of_clients_are_replaced_without_a_restart() {
    let (old, new) = (Clients::new(), Clients::new());
    for version in [&TLS12, &TLS13] {
        let (old, new) = (&old, &new);
        still(|clock| async move {
            let relay = asking(old, "implicit", "app.test").await;
            let config = showing(&relay, version, old.issue(&[host("app.test")]));
            for _ in 0..2 {
                let mut client = encrypted(&relay, Imap, "implicit", config.clone()).await;
                let reply = client.log_in(LOGIN, PASSWORD).await;
                assert!(is_success(Imap, &reply), "{reply}");
            }
            std::fs::write(relay.directory().join("clients.pem"), new.0.pem()).unwrap();
            while relay.log.named("certificate replaced").len() < 3 {
                look(&clock).await;
                tokio::task::spawn_blocking(|| ()).await.unwrap();
            }
            let sessions = relay.log.sessions(2).await.len();
            let name = ServerName::try_from("localhost").unwrap();
            let tcp = TcpStream::connect(relay.address(Imap)).await.unwrap();
            let shaken = patient("TLS", TlsConnector::from(config).connect(name, tcp)).await;
            if let Ok(mut tls) = shaken {
                let mut said = Vec::new();
                let read = tokio::io::AsyncReadExt::read_to_end(&mut tls, &mut said);
                assert!(patient("the end", read).await.is_err());
            }
            let session = relay.log.sessions(sessions + 1).await.pop().unwrap();
            assert_eq!(session["fault"], "client: tls");
            let config = showing(&relay, version, new.issue(&[host("app.test")]));
            let mut client = encrypted(&relay, Imap, "implicit", config).await;
            let reply = client.log_in(LOGIN, PASSWORD).await;
            assert!(is_success(Imap, &reply), "{reply}");
        });
    }
}

/// A chain of post-quantum signatures, or of many names, is larger than any ClientHello.
#[test]
fn client_certificates_of_more_than_18_kib_are_taken() {
    for version in [&TLS12, &TLS13] {
        still(|_| async move {
            let clients = Clients::new();
            let relay = asking(&clients, "implicit", "scanner@contoso.test").await;
            let mut names: Vec<_> = (0..1_000)
                .map(|number| address(&format!("device-{number:04}@contoso.test")))
                .collect();
            names.push(address("scanner@contoso.test"));
            let issued = clients.issue(&names);
            assert!(issued.0.len() > 24 * 1024);
            let config = showing(&relay, version, issued);
            let mut client = encrypted(&relay, Imap, "implicit", config).await;
            let reply = client.log_in(LOGIN, PASSWORD).await;
            assert!(is_success(Imap, &reply), "{reply}");
        });
    }
}

#[test]
fn f09_a_name_that_is_none_does_not_spoil_a_clients_signature() {
    for version in ["-tls1_2", "-tls1_3"] {
        still(|_| async move {
            let clients = Clients::new();
            let relay = asking(&clients, "implicit", "app.test").await;
            let (certificate, key) = clients.issue(&[host("app.test")]);
            let write = |name: &str, der: &[u8]| {
                let path = relay.directory().join(name);
                std::fs::write(&path, der).unwrap();
                path.into_os_string().into_string().unwrap()
            };
            let shown = write("app.der", &certificate);
            let key = write("app.key", key.secret_der());
            let certificate = ["-cert", &shown, "-certform", "DER"];
            let key = ["-key", &key, "-keyform", "DER"];
            let name = [version, "-quiet", "-servername", "relay test"];
            let options = [&certificate[..], &key, &name].concat();
            let (mut client, _child) = openssl(&relay, Imap, &options);
            greet(&mut client).await;
            assert_logs_in(&mut client, &options).await;
        });
    }
}
