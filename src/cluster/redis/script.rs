//! Encoding of commands as arguments of the script, and decoding of its answers.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::{RedisError, Script, ScriptInvocation, Value};

use super::super::command::{Ages, Answer, Command, Context, Entry, Sealed};
use super::super::number::Number;
use super::connection::Connected;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("store.lua")));

/// Executes a command. An invalid answer counts as [`Answer::Lost`].
pub(super) async fn execute(
    connected: &Connected,
    context: &Context,
    command: &Command,
) -> Result<Answer, RedisError> {
    let mut invocation = SCRIPT.prepare_invoke();
    invocation
        .arg(command.name())
        .arg(&*connected.run)
        .arg(&*context.epoch)
        .arg(&*context.relay);
    arguments(&mut invocation, command);
    let mut connection = connected.connection.clone();
    let value: Value = invocation.invoke_async(&mut connection).await?;
    Ok(answer(&value).unwrap_or(Answer::Lost))
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn ages(roster: &Ages) -> Vec<(&str, u64)> {
    let ages = roster.iter().map(|(id, age)| (&**id, ms(*age)));
    ages.collect()
}

fn number(number: Number) -> (u64, u64) {
    (number.consent, number.generation)
}

/// Adds what a command has, in the order of its fields.
fn arguments(to: &mut ScriptInvocation<'_>, command: &Command) {
    match command {
        Command::Epoch | Command::Beat | Command::Leave | Command::Names | Command::Recall => to,
        Command::Mark { epoch, roster } => to.arg((&**epoch, ages(roster))),
        Command::Back { roster } => to.arg(ages(roster)),
        Command::Get { name }
        | Command::Look { name }
        | Command::Take { name }
        | Command::Uncount { name } => to.arg(&**name),
        Command::Put { name, record } => {
            let life = record.life.map_or(0, |life| ms(life).max(1));
            to.arg((&**name, number(record.number), record.ended))
                .arg((&*record.text, life))
        }
        Command::Begin {
            name,
            number: at,
            nonce,
            one_use,
        }
        | Command::Enter {
            name,
            number: at,
            nonce,
            one_use,
        } => to.arg((&**name, number(*at), *nonce, *one_use)),
        Command::Renew { name, nonce } | Command::Clear { name, nonce } => {
            to.arg((&**name, *nonce))
        }
        Command::End {
            name,
            nonce,
            record,
        } => to.arg((&**name, *nonce, number(record.number), &*record.text)),
        _ => of_limit(to, command),
    };
}

fn of_limit<'t, 's>(
    to: &'t mut ScriptInvocation<'s>,
    command: &Command,
) -> &'t mut ScriptInvocation<'s> {
    match command {
        Command::Acquire {
            mailbox,
            message,
            own,
            limit,
            share,
            per_minute,
        } => to
            .arg((&**mailbox, *message, *limit, *share, *per_minute))
            .arg(own),
        Command::Hold { mailbox, messages } => to.arg((&**mailbox, messages)),
        Command::Release { mailbox, message } => to.arg((&**mailbox, *message)),
        Command::Pace {
            mailbox,
            message,
            per_minute,
        } => to.arg((&**mailbox, *message, *per_minute)),
        Command::Keep {
            name,
            value,
            life,
            is_published,
        } => to.arg((&**name, &**value, ms(*life).max(1), *is_published)),
        Command::Count { name, policy } => {
            let (window, most, lock) = policy.unwrap_or_default();
            to.arg((&**name, ms(window), most, ms(lock)))
        }
        _ => to,
    }
}

/// Parses an answer; `None` if it is invalid.
fn answer(value: &Value) -> Option<Answer> {
    let Value::Array(parts) = value else {
        return None;
    };
    let words: Vec<&str> = parts.iter().map(word).collect::<Option<_>>()?;
    let time = |text: &str| text.parse().ok().map(Duration::from_millis);
    Some(match *words.as_slice() {
        ["lost"] => Answer::Lost,
        ["marked", epoch] => Answer::Marked {
            epoch: epoch.into(),
        },
        ["done"] => Answer::Done,
        ["held"] => Answer::Held,
        ["settling"] => Answer::Settling,
        ["moved"] => Answer::Moved,
        ["greater", c, g, e, t] => Answer::Greater(Sealed::parse(c, g, e, t)?),
        ["found", c, g, e, t, ref entry @ ..] => Answer::Found {
            record: match t {
                "" => None,
                _ => Some(Sealed::parse(c, g, e, t)?),
            },
            entry: match *entry {
                [relay, nonce] => Some(Entry {
                    relay: relay.into(),
                    nonce: nonce.parse().ok()?,
                }),
                _ => None,
            },
        },
        ["names", ref all @ ..] => Answer::Names(all.iter().map(|name| Arc::from(*name)).collect()),
        ["roster", settled, ref ages @ ..] => Answer::Roster {
            ages: ages
                .chunks_exact(2)
                .map(|pair| match pair {
                    [id, age] => Some((Arc::from(*id), time(age)?)),
                    _ => None,
                })
                .collect::<Option<_>>()?,
            settled: settled == "1",
        },
        ["wait", left] => Answer::Wait(time(left)?),
        ["value", "1", value, left] => Answer::Value(Some(value.into()), time(left)?),
        ["value", ..] => Answer::Value(None, Duration::ZERO),
        ["values", ref all @ ..] => Answer::Values(
            all.chunks_exact(3)
                .map(|of| match of {
                    [name, value, left] => Some((Arc::from(*name), Arc::from(*value), time(left)?)),
                    _ => None,
                })
                .collect::<Option<_>>()?,
        ),
        ["counted", failures, locked] => Answer::Counted {
            failures: failures.parse().ok()?,
            locked: time(locked)?,
        },
        _ => return None,
    })
}

fn word(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(octets) => std::str::from_utf8(octets).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}
