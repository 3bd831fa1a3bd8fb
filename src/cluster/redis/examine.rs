//! What `doctor` and `check --online` examine of the store.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{RedisError, Script, Value};
use tokio::sync::mpsc;

use super::super::command::{Published, Unavailable};
use super::super::identity::clock;
use super::super::keys::Keys;
use super::connection::{CHANNEL, asked, connect, info, words};
use crate::config::SharedStore;

/// Name of the value with which permissions are examined.
const EXAMINED: &str = "authrelay:examined";

/// Time after which no further Sentinel is asked, and longest time of the questions once connected.
const PATIENCE: Duration = Duration::from_secs(3);

/// Findings of a check of the store.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Properties that are as they should be: version, policy, clock.
    pub good: Vec<String>,
    /// Properties that are not, each with a remedy.
    pub wrong: Vec<(String, &'static str)>,
}

/// Script that needs every permission of the relays' own: a command of each kind, on a value that it
/// removes again, and a publication that no relay understands. `KEYS[1]` is [`EXAMINED`], `ARGV[1]` is
/// [`CHANNEL`].
const PERMISSIONS: &str = "
local name = KEYS[1]
redis.call('TIME')
redis.call('PUBLISH', ARGV[1], '')
redis.call('SET', name, '', 'PX', 1000)
redis.call('DEL', name)
redis.call('HSET', name, 'x', '')
redis.call('PEXPIRE', name, 1000)
redis.call('DEL', name)
redis.call('SADD', name, 'x')
redis.call('DEL', name)
redis.call('ZADD', name, 1, 'x')
redis.call('DEL', name)
return 1";

static NOBODY: OnceLock<mpsc::UnboundedSender<Published>> = OnceLock::new();

/// Checks that the server allows every command that relays use.
async fn permissions(connection: &mut MultiplexedConnection) -> Result<(), Unavailable> {
    let script = Script::new(PERMISSIONS);
    let mut examination = script.key(EXAMINED);
    let ran = examination.arg(CHANNEL).invoke_async(connection);
    let ran: Result<Value, RedisError> = ran.await;
    ran.map(drop).map_err(|error| Unavailable(words(&error)))
}

/// Checks that a store can be reached and is suitable: reach, TLS, password, permissions, version,
/// eviction policy, clock, key.
///
/// # Errors
///
/// The store cannot be used at all.
pub async fn examine(config: &SharedStore, keys: &Keys) -> Result<Findings, Unavailable> {
    let nobody = NOBODY.get_or_init(|| mpsc::unbounded_channel().0);
    let began = Instant::now();
    let mut made = connect(config, keys, nobody, 0).await;
    let sentinels = config.master.as_ref().map_or(1, |_| config.servers.len());
    for failures in 1..sentinels {
        if made.is_err() && began.elapsed() < PATIENCE {
            made = connect(config, keys, nobody, failures).await;
        }
    }
    let made = made?;
    match tokio::time::timeout(PATIENCE, findings(config, made.connection.clone())).await {
        Ok(found) => found,
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            Err(Unavailable(format!("no answer within {seconds} s")))
        }
    }
}

/// Asks the server for what it is and allows.
async fn findings(
    config: &SharedStore,
    mut connection: MultiplexedConnection,
) -> Result<Findings, Unavailable> {
    permissions(&mut connection).await?;
    let mut findings = Findings::default();
    let server = info(&mut connection, "server").await?;
    let version = server.get("valkey_version");
    let version: Option<String> = version.or_else(|| server.get("redis_version"));
    let version = version.unwrap_or_else(|| "0".to_owned());
    match is_recent(&version) {
        true => findings.good.push(format!("version {version}")),
        false => findings.wrong.push((
            format!("its version is {version}"),
            "run Redis 6.2 or Valkey 7.2, or later",
        )),
    }
    let memory = info(&mut connection, "memory").await?;
    let policy: Option<String> = memory.get("maxmemory_policy");
    match policy.as_deref() {
        Some("noeviction") => findings.good.push("noeviction".to_owned()),
        policy => findings.wrong.push((
            format!("its eviction policy is {}", policy.unwrap_or("unknown")),
            "set maxmemory-policy noeviction: evicted records cost redemptions and the limits' counts",
        )),
    }
    if config.master.is_some() {
        let mut get = redis::cmd("CONFIG");
        get.arg("GET").arg("min-replicas-to-write");
        let pair: Result<std::collections::HashMap<String, String>, Unavailable> =
            asked(&mut connection, &get).await;
        let least = pair
            .ok()
            .and_then(|mut pair| pair.remove("min-replicas-to-write"));
        if least.as_deref() == Some("0") {
            findings.wrong.push((
                "an old master still accepts writes after a failover".to_owned(),
                "set min-replicas-to-write 1 on the servers behind Sentinel",
            ));
        }
    }
    let time: (u64, u64) = asked(&mut connection, &redis::cmd("TIME")).await?;
    let apart = clock().abs_diff(time.0);
    match apart {
        0..=2 => findings.good.push("clock".to_owned()),
        _ => findings.wrong.push((
            format!("its clock and this machine's are {apart} s apart"),
            "set both by NTP",
        )),
    }
    findings.good.push("key".to_owned());
    Ok(findings)
}

fn is_recent(version: &str) -> bool {
    let mut numbers = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (major, minor) >= (6, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        for (version, recent) in [
            ("7.0.15", true),
            ("6.2.0", true),
            ("10.0", true),
            ("6.0.16", false),
            ("", false),
        ] {
            assert_eq!(is_recent(version), recent, "{version}");
        }
    }
}
