//! The script on a real server, command by command beside the same in Rust.

use std::sync::Arc;
use std::time::Duration;

use authrelay::cluster::command::{Answer, Command, Context, Sealed, Store as _};
use authrelay::cluster::keys::Keys;
use authrelay::cluster::number::Number;
use authrelay::cluster::redis::Redis;
use authrelay::config::{HostPort, SharedStore};
use authrelay::secret::Secret;

use crate::engine::{Engine, Mistake};
use crate::server::Server;

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn command(dice: &mut Dice) -> Command {
    let name: Arc<str> = format!("n{}", dice.below(3)).into();
    let number = Number {
        consent: dice.below(2),
        generation: dice.below(4),
    };
    let nonce = dice.below(4);
    let one_use = dice.below(2) == 0;
    let record = Sealed {
        number,
        ended: dice.below(8) == 0,
        text: format!("{{\"a text\": {}}}", dice.below(2)).into(),
        life: (dice.below(3) == 0).then_some(Duration::from_secs(100)),
    };
    let mailbox = name.clone();
    let message = dice.below(5);
    match dice.below(19) {
        0 => Command::Beat,
        1 => Command::Back {
            roster: [(Arc::from("c"), Duration::from_secs(3))].into(),
        },
        2 if dice.below(8) == 0 => Command::Leave,
        2 if dice.below(2) == 0 => Command::Names,
        2 => Command::Epoch,
        3 | 4 => Command::Get { name },
        5 | 6 => Command::Put { name, record },
        7 | 8 => Command::Begin {
            name,
            number,
            nonce,
            one_use,
        },
        9 => Command::Enter {
            name,
            number,
            nonce,
            one_use,
        },
        10 => Command::Renew { name, nonce },
        11 => Command::Clear { name, nonce },
        12 => Command::End {
            name,
            nonce,
            record: Sealed {
                ended: true,
                ..record
            },
        },
        13 => Command::Acquire {
            mailbox,
            message,
            own: (0..dice.below(3)).collect(),
            limit: 3,
            share: 1,
            per_minute: 40,
        },
        14 => Command::Release { mailbox, message },
        15 => Command::Hold {
            mailbox,
            messages: vec![message],
        },
        16 => Command::Keep {
            name,
            value: format!("v {}", dice.below(3)).into(),
            life: Duration::from_secs(100 + dice.below(3) * 100),
            is_published: true,
        },
        17 => match dice.below(3) {
            0 => Command::Look { name },
            1 => Command::Take { name },
            _ => Command::Uncount { name },
        },
        _ => Command::Count {
            name,
            policy: (dice.below(3) != 0).then_some((
                Duration::from_secs(600),
                4,
                Duration::from_secs(300),
            )),
        },
    }
}

/// Times pass between the two: what is left of one is compared to a second.
fn alike(one: &Answer, other: &Answer) -> bool {
    let near = |a: &Duration, b: &Duration| a.abs_diff(*b) < Duration::from_secs(2);
    match (one, other) {
        (
            Answer::Roster { ages, settled },
            Answer::Roster {
                ages: other,
                settled: too,
            },
        ) => {
            let pairs = ages.iter().zip(other);
            settled == too
                && ages.len() == other.len()
                && pairs
                    .into_iter()
                    .all(|((a, x), (b, y))| a == b && near(x, y))
        }
        (Answer::Names(a), Answer::Names(b)) => {
            let (mut a, mut b) = (a.clone(), b.clone());
            a.sort();
            b.sort();
            a == b
        }
        (Answer::Wait(a), Answer::Wait(b)) => near(a, b),
        (Answer::Value(a, x), Answer::Value(b, y)) => a == b && near(x, y),
        (
            Answer::Counted { failures, locked },
            Answer::Counted {
                failures: count,
                locked: left,
            },
        ) => failures == count && near(locked, left),
        (
            Answer::Found { record, entry },
            Answer::Found {
                record: b,
                entry: c,
            },
        ) => {
            let without = |record: &Option<Sealed>| {
                record.clone().map(|record| Sealed {
                    life: None,
                    ..record
                })
            };
            without(record) == without(b) && entry == c
        }
        (Answer::Greater(a), Answer::Greater(b)) => {
            (a.number, a.ended, &a.text) == (b.number, b.ended, &b.text)
        }
        _ => one == other,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_script_does_what_the_table_says() {
    let server = Server::start();
    let config = SharedStore {
        url: Secret::from(""),
        servers: vec![HostPort {
            host: "127.0.0.1".into(),
            port: server.port,
        }],
        master: None,
        username: None,
        password: None,
        database: 0,
        tls: None,
    };
    let keys = Arc::new(Keys::new(&Secret::from("a key of some length")).unwrap());
    let (redis, _told) = Redis::new(Arc::new(config), keys, Box::new(|_, _| {}));
    let connecting = tokio::spawn(redis.clone().keep_connected());
    let mut up = redis.up();
    tokio::time::timeout(Duration::from_secs(10), up.wait_for(Result::is_ok))
        .await
        .expect("the server starts")
        .unwrap();
    let mut engine = Engine::new("run", Mistake::None);
    let mut dice = Dice(0x1234_5678_9abc_def1);
    let mut epochs: [Arc<str>; 2] = ["".into(), "".into()];
    let mut kinds = std::collections::BTreeMap::<String, usize>::new();
    for step in 0..6_000 {
        let who = usize::try_from(dice.below(2)).unwrap();
        let context = Context {
            run: "run".into(),
            epoch: epochs[who].clone(),
            relay: ["a", "b"][who].into(),
        };
        let mut command = command(&mut dice);
        if step == 0 || (epochs[who].is_empty() && dice.below(3) == 0) {
            command = Command::Mark {
                epoch: format!("e{step}").into(),
                roster: [(Arc::from("b"), Duration::from_secs(1))].into(),
            };
        }
        let now = std::time::UNIX_EPOCH.elapsed().unwrap();
        let expected = engine.execute(&context, &command, now);
        // A busy machine now and then takes longer than an operation may.
        let answer = loop {
            match redis.execute(&context, &command).await {
                Ok(answer) => break answer,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        assert!(
            alike(&answer, &expected),
            "{step}: {command:?} by {who}: {answer:?}, not {expected:?}"
        );
        if let Answer::Marked { epoch } = &answer {
            epochs[who] = epoch.clone();
        }
        let kind = format!("{answer:?}");
        let kind = kind.split([' ', '(']).next().unwrap().to_owned();
        *kinds.entry(kind).or_default() += 1;
    }
    connecting.abort();
    assert!(kinds.len() >= 12, "{kinds:?}");
}
