//! Connection to the server: Sentinel, TLS, login, run id, key, subscription.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ErrorKind, FromRedisValue, InfoDict, ProtocolVersion, PushInfo,
    PushKind, RedisConnectionInfo, RedisError, ServerErrorKind, Value,
};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::command::{Published, Sealed, Unavailable};
use super::super::keys::{FORMAT, Keys};
use super::bounded::Bounded;
use crate::config::{HostPort, SharedStore};
use crate::outbound::connect::to_host_uncached;

/// Name of the only channel.
pub(super) const CHANNEL: &str = "authrelay:told";

/// Name of the value that identifies the key.
const KEY: &str = "authrelay:key";

/// Longest time to connect, including the question to a Sentinel.
const CONNECTING: Duration = Duration::from_secs(2);

/// Maximum number of operations that wait for the connection.
const QUEUE: usize = 4_096;

/// A connection that is ready for scripts.
pub struct Connected {
    pub(super) connection: MultiplexedConnection,
    /// Run id of the server.
    pub(super) run: Arc<str>,
    /// Cancelled when the connection can no longer be used.
    pub(super) ended: CancellationToken,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Connects to the server, behind Sentinel to the current master. Each of the `failures` before
/// makes another Sentinel the first to be asked, since one that is cut off from the others goes on
/// naming a former master.
pub(super) async fn connect(
    config: &SharedStore,
    keys: &Keys,
    published: &mpsc::UnboundedSender<Published>,
    failures: usize,
) -> Result<Connected, Unavailable> {
    let connecting = connect_by(config, keys, published, failures);
    let made = tokio::time::timeout(CONNECTING, connecting).await;
    made.unwrap_or_else(|_| Err(Unavailable("no connection within 2 s".to_owned())))
}

async fn connect_by(
    config: &SharedStore,
    keys: &Keys,
    published: &mpsc::UnboundedSender<Published>,
    first: usize,
) -> Result<Connected, Unavailable> {
    let server = server(config, first).await?;
    let ended = CancellationToken::new();
    let pushes = {
        let (published, ended) = (published.clone(), ended.clone());
        move |push: PushInfo| {
            match push.kind {
                PushKind::Disconnection => ended.cancel(),
                PushKind::Message => {
                    if let Some(message) = message(&push.data) {
                        let _ = published.send(message);
                    }
                }
                _ => {}
            }
            Ok::<(), redis::aio::SendError>(())
        }
    };
    let login = login(config);
    let options = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUE)
        .set_push_sender(pushes);
    let mut connection = opened(config, &server, &login, options, &ended).await?;
    let run = run_id(&mut connection).await?;
    if config.master.is_some() {
        must_be_master(&mut connection).await?;
    }
    check_key(&mut connection, keys).await?;
    let mut subscribe = redis::cmd("SUBSCRIBE");
    asked::<Value>(&mut connection, subscribe.arg(CHANNEL)).await?;
    Ok(Connected {
        connection,
        run,
        ended,
    })
}

async fn opened(
    config: &SharedStore,
    server: &HostPort,
    login: &RedisConnectionInfo,
    options: AsyncConnectionConfig,
    ended: &CancellationToken,
) -> Result<MultiplexedConnection, Unavailable> {
    let away =
        |what: &str, error: &dyn std::fmt::Display| Unavailable(format!("{server}: {what}{error}"));
    let tcp = to_host_uncached(&server.host, server.port).await;
    let tcp = tcp.map_err(|error| away("", &error))?;
    let stream: Box<dyn Stream> = match &config.tls {
        None => Box::new(tcp),
        Some(tls) => {
            let name =
                ServerName::try_from(server.host.clone()).map_err(|error| away("", &error))?;
            let tls = tokio_rustls::TlsConnector::from(tls.clone());
            let stream = tls.connect(name, tcp).await;
            Box::new(stream.map_err(|error| away("TLS: ", &error))?)
        }
    };
    let made = MultiplexedConnection::new_with_config(login, Bounded::new(stream), options).await;
    let (connection, driver) = made.map_err(|error| Unavailable(words(&error)))?;
    let ended = ended.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = driver => ended.cancel(),
            () = ended.cancelled() => {}
        }
    });
    Ok(connection)
}

fn login(config: &SharedStore) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_skip_set_lib_name()
        .set_db(config.database);
    if let Some(username) = &config.username {
        login = login.set_username(username);
    }
    if let Some(password) = &config.password {
        login = login.set_password(password.expose());
    }
    login
}

/// Address of the server: as configured, or as a Sentinel says. Sentinels are asked without user and
/// password, from the one numbered `first` on until one answers.
async fn server(config: &SharedStore, first: usize) -> Result<HostPort, Unavailable> {
    let Some(master) = &config.master else {
        let first = config.servers.first().cloned();
        return first.ok_or_else(|| Unavailable("no server is configured".to_owned()));
    };
    let mut last = Unavailable("no Sentinel is configured".to_owned());
    let count = config.servers.len();
    let sentinels = config.servers.iter().cycle().skip(first % count.max(1));
    for sentinel in sentinels.take(count) {
        let asking = ask_sentinel(config, sentinel, master);
        match tokio::time::timeout(Duration::from_millis(500), asking).await {
            Ok(Ok(address)) => return Ok(address),
            Ok(Err(away)) => last = away,
            Err(_) => last = Unavailable(format!("the Sentinel {sentinel} does not answer")),
        }
    }
    Err(last)
}

async fn ask_sentinel(
    config: &SharedStore,
    sentinel: &HostPort,
    master: &str,
) -> Result<HostPort, Unavailable> {
    let ended = CancellationToken::new();
    let _ends = ended.clone().drop_guard();
    let login = RedisConnectionInfo::default().set_skip_set_lib_name();
    let options = AsyncConnectionConfig::new();
    let mut connection = opened(config, sentinel, &login, options, &ended).await?;
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let address: Option<(String, u16)> = asked(&mut connection, &ask).await?;
    match address {
        Some((host, port)) => Ok(HostPort { host, port }),
        None => Err(Unavailable(format!(
            "the Sentinel {sentinel} knows no master {master}"
        ))),
    }
}

pub(super) async fn asked<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    command: &redis::Cmd,
) -> Result<T, Unavailable> {
    let asked = command.query_async(connection).await;
    asked.map_err(|error| Unavailable(words(&error)))
}

pub(super) async fn info(
    connection: &mut MultiplexedConnection,
    part: &str,
) -> Result<InfoDict, Unavailable> {
    asked(connection, redis::cmd("INFO").arg(part)).await
}

async fn run_id(connection: &mut MultiplexedConnection) -> Result<Arc<str>, Unavailable> {
    let run: Option<String> = info(connection, "server").await?.get("run_id");
    run.map(Arc::from)
        .ok_or_else(|| Unavailable("the server has no run id".to_owned()))
}

async fn must_be_master(connection: &mut MultiplexedConnection) -> Result<(), Unavailable> {
    let role: Option<String> = info(connection, "replication").await?.get("role");
    match role.as_deref() {
        Some("master") => Ok(()),
        _ => Err(Unavailable(
            "the server that Sentinel names is no master (yet)".to_owned(),
        )),
    }
}

/// Computes the value that identifies key and format.
fn word(keys: &Keys) -> String {
    format!("{FORMAT} {}", keys.name("key", &[]))
}

/// Checks that the store is used with the same key and format; otherwise it is left alone.
async fn check_key(connection: &mut MultiplexedConnection, keys: &Keys) -> Result<(), Unavailable> {
    let word = word(keys);
    let mut set = redis::cmd("SET");
    asked::<Value>(connection, set.arg(KEY).arg(&word).arg("NX")).await?;
    let stored: Option<String> = asked(connection, redis::cmd("GET").arg(KEY)).await?;
    match stored {
        Some(stored) if stored == word => Ok(()),
        Some(stored) => Err(Unavailable(foreign(&stored))),
        None => Err(Unavailable(
            "the server does not keep what it is given".to_owned(),
        )),
    }
}

fn foreign(stored: &str) -> String {
    let version = stored
        .split(' ')
        .next()
        .and_then(|version| version.parse::<u32>().ok());
    match version {
        Some(version) if version > FORMAT => {
            "its records are of a later version of authrelay; they are left as they are".to_owned()
        }
        _ => "its records are sealed with another state.key; they are left as they are".to_owned(),
    }
}

/// Parses a published message (`channel, payload`); `None` if it is not one of ours.
fn message(data: &[Value]) -> Option<Published> {
    let payload = match data {
        [_, Value::BulkString(payload)] => std::str::from_utf8(payload).ok()?,
        [_, Value::SimpleString(payload)] => payload,
        _ => return None,
    };
    let words: Vec<_> = payload.splitn(6, ' ').collect();
    let ms = |text: &str| text.parse().ok().map(Duration::from_millis);
    Some(match words[..] {
        ["L", ..] => Published::Lost,
        ["J", id, ..] => Published::Joined(id.into()),
        ["R", name, consent, generation, ended, text] => Published::Record(
            name.into(),
            Sealed::parse(consent, generation, ended, text)?,
        ),
        ["K", name, life, ..] => {
            // The value is the rest, whatever is in it.
            let value = payload.splitn(4, ' ').nth(3).unwrap_or_default();
            Published::Kept(name.into(), value.into(), ms(life)?)
        }
        ["F", name, count, locked, ..] => {
            Published::Counted(name.into(), count.parse().ok()?, ms(locked)?)
        }
        _ => return None,
    })
}

/// Whether an error means that this server is the wrong one, or does not serve.
pub(super) fn is_fatal(error: &RedisError) -> bool {
    error.is_io_error()
        || matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
        )
}

/// Formats an error for people, without the question.
pub(super) fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {}", crate::fault::sanitize(detail)),
        (Some(code), None) => code.to_owned(),
        (None, _) => crate::fault::sanitize(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::number::Number;

    #[test]
    fn publications_are_read_and_strangers_are_not() {
        let published = |text: &str| {
            message(&[
                Value::BulkString(CHANNEL.into()),
                Value::BulkString(text.as_bytes().to_vec()),
            ])
        };
        assert_eq!(published("L"), Some(Published::Lost));
        assert_eq!(published("J r1"), Some(Published::Joined("r1".into())));
        let sealed = Sealed {
            number: Number {
                consent: 5,
                generation: 2,
            },
            ended: true,
            text: r#"{"v": 2}"#.into(),
            life: None,
        };
        assert_eq!(
            published(r#"R n 5 2 1 {"v": 2}"#),
            Some(Published::Record("n".into(), sealed))
        );
        let kept = Published::Kept("n".into(), "a b c d e".into(), Duration::from_millis(70));
        assert_eq!(published("K n 70 a b c d e"), Some(kept));
        assert_eq!(
            published("F n 3 0"),
            Some(Published::Counted("n".into(), 3, Duration::ZERO))
        );
        for stranger in ["", "X", "R", "R n x 2 1 t", "F n 3", "K n"] {
            assert_eq!(published(stranger), None, "{stranger}");
        }
        assert_eq!(message(&[]), None);
    }
}
