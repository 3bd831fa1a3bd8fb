//! HTTP client for token endpoints and hooks. [`connect`] opens its connections, as it does to mail
//! services: reqwest's own connector tries the addresses of a family one after the other, so an
//! address that drops packets would delay every request (RFC 8305).
//!
//! Redirects are not followed, since they would carry secrets away. Proxies from the environment
//! are ignored.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Request, StatusCode, Uri, uri::Scheme};
use http_body_util::Full;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use url::Url;

use super::{connect, egress};
use crate::config::{Egress, Endpoint, Headers, IpPreference, UpstreamTls};

/// Longest time to open a connection, TLS included.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest time that an idle connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(60);

/// Longest head of a response, in octets.
const HEAD_CAP: usize = 64 * 1024;

/// Error of a request without response; its sources give the reason.
pub type Error = legacy::Error;

/// HTTP client. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Client(legacy::Client<Connector, Full<Bytes>>);

impl Client {
    /// Creates a client that verifies servers by `tls`. `egress` applies to https URLs only: http
    /// URLs are local, and no proxy may read them.
    pub fn new(mut tls: rustls::ClientConfig, egress: Option<Egress>, ip: IpPreference) -> Self {
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connector = Connector {
            tls: Arc::new(tls),
            egress: egress.map(Arc::new),
            ip,
        };
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .http1_max_buf_size(HEAD_CAP)
            .build(connector);
        Self(client)
    }

    /// Sends a request and returns the response with its body unread. The caller sets a deadline
    /// around both, and limits the body.
    ///
    /// # Errors
    ///
    /// No response arrived. Nothing is sent twice.
    pub async fn execute(&self, request: Request<Vec<u8>>) -> Result<reqwest::Response, Error> {
        let agent = HeaderValue::from_static(concat!("authrelay/", env!("CARGO_PKG_VERSION")));
        let mut request = request.map(|body| Full::new(Bytes::from(body)));
        request.headers_mut().entry(USER_AGENT).or_insert(agent);
        let response = self.0.request(request).await?;
        Ok(response.map(reqwest::Body::wrap).into())
    }

    /// Sends a body to a URL, with configured headers, and returns the status of the response. The
    /// caller sets a deadline.
    ///
    /// # Errors
    ///
    /// The reason why there is no response, in one line.
    pub async fn post(
        &self,
        url: &Url,
        headers: &Headers,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<StatusCode, String> {
        let mut request = Request::post(url.as_str()).header(CONTENT_TYPE, content_type);
        for (name, value) in headers.values() {
            request = request.header(name, value);
        }
        let request = request.body(body).map_err(|error| error.to_string())?;
        let response = self.execute(request).await;
        Ok(response.map_err(|error| causes(&error))?.status())
    }
}

/// Formats an error with its sources, in one line.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

#[derive(Debug, Clone)]
struct Connector {
    tls: Arc<rustls::ClientConfig>,
    egress: Option<Arc<Egress>>,
    ip: IpPreference,
}

impl Connector {
    async fn connect(self, uri: Uri) -> io::Result<Box<dyn Socket>> {
        let encrypted = uri.scheme() == Some(&Scheme::HTTPS);
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let endpoint = Endpoint {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 }),
            tls: UpstreamTls::Implicit,
        };
        let tcp = match &self.egress {
            Some(egress) if encrypted => egress::connect_via(egress, &endpoint).await,
            _ => connect::direct(&endpoint, self.ip).await,
        };
        let tcp = tcp.map_err(|fault| io::Error::other(fault.detail().to_owned()))?;
        if !encrypted {
            return Ok(Box::new(tcp));
        }
        let name = ServerName::try_from(endpoint.host).map_err(io::Error::other)?;
        let tls = TlsConnector::from(self.tls).connect(name, tcp).await?;
        Ok(Box::new(tls))
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Socket>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Box<dyn Socket>>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.clone().connect(uri);
        Box::pin(async move {
            match tokio::time::timeout(PATIENCE, connecting).await {
                Ok(connected) => connected.map(TokioIo::new),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        })
    }
}

/// Connection to an HTTP server, in clear or under TLS.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

impl Connection for Box<dyn Socket> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
