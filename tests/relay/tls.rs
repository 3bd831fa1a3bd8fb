//! TLS peers that are unusual or hostile.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use authrelay::certs::{Authority, Issued};
use authrelay::config::LogFormat;
use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::wire::Protocol::{self, Imap};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tracing::Level;

use crate::client::Client;
use crate::clock::still;
use crate::stage::{Relay, Setup, greet};

/// In clear: a handshake message that is not complete, then something else.
const FRAGMENTS: [&[u8]; 4] = [
    &[0x16, 3, 1, 0, 2, 1, 0, 0x17, 3, 3, 0, 1, 0],
    &[0x16, 3, 1, 0, 2, 1, 0, 0x15, 3, 3, 0, 2, 2, 40],
    &[
        0x16, 3, 1, 0, 1, 1, 0x16, 3, 1, 0, 5, 0, 0xff, 0xff, 3, 3, 0x14, 3, 3, 0, 1, 1,
    ],
    &[0x16, 3, 1, 0, 2, 1, 0, 0x17, 3, 3, 0xff, 0xff],
];

async fn assert_serves(relay: &Relay, protocol: Protocol) {
    let client = relay.dial(protocol).await;
    let mut client = client.encrypt(relay.trust.clone()).await;
    greet(&mut client).await;
    client.assert_goes_on().await;
}

#[test]
fn d02_octets_in_clear_make_no_panic_in_a_tls_listener() {
    for protocol in Protocol::ALL {
        still(|_| async move {
            let setup = Setup::default().tls("implicit");
            let relay = setup.log(LogFormat::Json, Level::DEBUG).start().await;
            for octets in FRAGMENTS {
                let mut client = relay.dial(protocol).await;
                client.send(octets).await;
                client.rest_bytes().await;
            }
            relay.log.sessions(FRAGMENTS.len()).await;
            assert_eq!(relay.log.faults(), ["client: tls"; FRAGMENTS.len()]);
            assert_serves(&relay, protocol).await;
        });
    }
}

#[test]
fn r44_octets_in_clear_make_no_panic_after_the_handshake() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        still(|_| async move {
            let setup = Setup::default().tls("implicit");
            let relay = setup.log(LogFormat::Json, Level::DEBUG).start().await;
            for octets in FRAGMENTS {
                let tcp = TcpStream::connect(relay.address(Imap)).await.unwrap();
                let name = ServerName::try_from("localhost").unwrap();
                let connector = TlsConnector::from(relay.trust_with(version));
                let mut tls = connector.connect(name, tcp).await.unwrap();
                tls.get_mut().0.write_all(octets).await.unwrap();
                tls.get_mut().0.shutdown().await.unwrap();
                drop(tls);
            }
            relay.log.sessions(FRAGMENTS.len()).await;
            assert!(
                !relay.log.text().contains("internal"),
                "{}",
                relay.log.text()
            );
            assert_serves(&relay, Imap).await;
        });
    }
}

/// A mail service of a few words, as its TLS and its thread want it.
fn service(
    issued: &Issued,
    version: &'static SupportedProtocolVersion,
    talk: impl Fn(&mut ServerConnection, &mut std::net::TcpStream) + Send + 'static,
) -> SocketAddr {
    let chain = CertificateDer::pem_slice_iter(issued.chain.as_bytes());
    let chain = chain.map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let mut tls = ServerConnection::new(config.clone()).unwrap();
            talk(&mut tls, &mut tcp.unwrap());
        }
    });
    address
}

/// The last words of a mail service, its Finished and its close_notify in one segment.
#[test]
fn d13_words_that_come_with_the_end_of_the_handshake_are_heard() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let authority = Authority::new("busy CA").unwrap();
        let issued = authority.issue(&["localhost".into()]).unwrap();
        let address = service(&issued, version, |tls, tcp| {
            let mut out = Vec::new();
            while tls.is_handshaking() {
                tls.read_tls(tcp).unwrap();
                tls.process_new_packets().unwrap();
                if tls.is_handshaking() {
                    tls.write_tls(tcp).unwrap();
                }
            }
            let words = b"* BYE Server too busy, come back later\r\n";
            tls.writer().write_all(words).unwrap();
            tls.send_close_notify();
            while tls.wants_write() {
                tls.write_tls(&mut out).unwrap();
            }
            tcp.write_all(&out).unwrap();
            let _ = tcp.read(&mut [0; 100]);
        });
        still(|_| async move {
            let relay = Setup::default()
                .file("ca.pem", &authority.pem())
                .upstream_hosts(&format!("host: localhost, port: {},", address.port()))
                .start()
                .await;
            let mut client: Client = relay.connect(Imap).await;
            client.log_in(LOGIN, PASSWORD).await;
            let fault = relay.log.named("fault").remove(0);
            let detail = fault["detail"].as_str().unwrap();
            assert!(detail.contains("Server too busy"), "{fault}");
        });
    }
}
