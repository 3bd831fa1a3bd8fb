//! A mail service that a test plays itself, octet by octet, behind the relay's TLS.

use std::future::Future;
use std::sync::Arc;

use authrelay::certs::Authority;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::stage::Setup;

/// IMAP by implicit TLS.
pub struct Service {
    authority: String,
    port: u16,
}

/// A relay's connection.
pub struct Connection(BufReader<TlsStream<TcpStream>>);

impl Service {
    /// Plays `script` with each relay that has logged in. Called within the runtime.
    pub async fn imap<F: Future<Output = ()> + Send>(
        script: impl Fn(Connection) -> F + Send + Sync + 'static,
    ) -> Self {
        let authority = Authority::new("played CA").unwrap();
        let issued = authority.issue(&["localhost".into()]).unwrap();
        let chain = CertificateDer::pem_slice_iter(issued.chain.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = Arc::new(script);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, script) = (acceptor.clone(), script.clone());
                tokio::spawn(async move {
                    let tls = acceptor.accept(tcp).await.unwrap();
                    let mut connection = Connection(BufReader::new(tls));
                    let capabilities = "[CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2 LITERAL+]";
                    connection
                        .say(&format!("* OK {capabilities} ready\r\n"))
                        .await;
                    let login = connection.line().await;
                    let tag = login.split(' ').next().unwrap();
                    connection
                        .say(&format!("{tag} OK {capabilities} done\r\n"))
                        .await;
                    script(connection).await;
                });
            }
        });
        Self {
            authority: authority.pem(),
            port,
        }
    }

    /// A relay in front of it.
    pub fn setup(&self) -> Setup {
        Setup::default()
            .file("ca.pem", &self.authority)
            .upstream_hosts(&format!("host: localhost, port: {},", self.port))
    }
}

impl Connection {
    pub async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    pub async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line
    }

    pub async fn exactly(&mut self, octets: usize) -> Vec<u8> {
        let mut taken = vec![0; octets];
        self.0.read_exact(&mut taken).await.unwrap();
        taken
    }

    /// Reads until the relay goes.
    pub async fn until_it_goes(mut self) {
        let _ = self.0.read_to_end(&mut Vec::new()).await;
    }
}
