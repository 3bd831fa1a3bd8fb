//! Member of a group of relays that share a store: its questions, its rejoin, its beats, and the
//! messages of the others. The decisions are made elsewhere, without IO.

mod cli;
mod limits;
mod rejoining;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::command::{
    Answer, BEAT, Command, Context, Nonce, Published, RENEW, Sealed, Store, Unavailable,
};
use super::identity::Identity;
use super::keys::Keys;
use super::number::Number;
use super::rejoin::Rejoin;
use super::roster::Roster;

/// Maximum number of published values and of counts that are remembered.
const HEARD: usize = 20_000;

/// Reason why a command cannot use a store that has lost its data: the first relay to rejoin restores
/// the data.
const NOBODY: &str = "no relay is using it at the moment";

/// Future of a task that is done later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Records of this relay.
pub trait Records: Send + Sync {
    /// Returns the names of all records.
    fn names(&self) -> Later<'_, Vec<Arc<str>>>;
    /// Returns the records that another process of this machine has written since the last call.
    fn changed(&self) -> Later<'_, Vec<Arc<str>>>;
    /// Returns this relay's own record.
    fn own<'a>(&'a self, name: &'a str) -> Later<'a, Option<Sealed>>;
    /// Keeps a record of the store if that counts; `false` if it cannot be opened.
    fn adopt<'a>(&'a self, name: &'a str, record: Sealed) -> Later<'a, bool>;
}

/// State of a redemption that other relays need to know.
#[derive(Debug, Clone, Copy)]
struct Redeeming {
    number: Number,
    nonce: Nonce,
    /// Whether it is unknown yet if the entry was made.
    asking: bool,
    one_use: bool,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// Published value with its end.
type Kept = (Arc<str>, Instant);

/// Shared count of failed logins, as last published or read.
#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    heard: Instant,
    locked_until: Instant,
}

/// Member of a group of relays that share a store.
pub struct Member {
    identity: Identity,
    keys: Arc<Keys>,
    store: Arc<dyn Store>,
    up: watch::Receiver<Result<(), String>>,
    records: OnceLock<Arc<dyn Records>>,
    epoch: Mutex<Option<Arc<str>>>,
    rejoining: tokio::sync::Mutex<()>,
    /// Whether this relay has left the others, or is about to.
    left: AtomicBool,
    /// Id of a command-line process, which is not a relay.
    cli: OnceLock<Arc<str>>,
    /// Epoch in which this relay has read the records that it lacked.
    learned: Mutex<Option<Arc<str>>>,
    roster: Mutex<Roster>,
    redeeming: Mutex<HashMap<Arc<str>, Redeeming>>,
    /// Records that the store has not taken yet.
    owed: Mutex<HashSet<Arc<str>>>,
    /// Records that may have an idle entry of this relay's.
    untidy: Mutex<HashSet<Arc<str>>>,
    messages: Mutex<HashMap<Arc<str>, BTreeSet<u64>>>,
    kept: Mutex<HashMap<Arc<str>, Kept>>,
    failures: Mutex<HashMap<Arc<str>, Failures>>,
    /// Counter of published records.
    heard: watch::Sender<u64>,
    started: Instant,
}

/// Creates a random number that identifies an entry.
pub fn nonce() -> Nonce {
    let mut octets = [0; 8];
    // Without random numbers nothing else of authrelay works either.
    let _ = aws_lc_rs::rand::fill(&mut octets);
    // Lua's numbers are exact so far, and this one is never one.
    u64::from_ne_bytes(octets) >> 11
}

impl Member {
    /// Creates the member of a shared store, with the stored roster.
    pub fn new(
        identity: Identity,
        keys: Arc<Keys>,
        store: Arc<dyn Store>,
        up: watch::Receiver<Result<(), String>>,
    ) -> Arc<Self> {
        let started = Instant::now();
        let roster = identity.remembered(Duration::ZERO);
        Arc::new(Self {
            identity,
            keys,
            store,
            up,
            records: OnceLock::new(),
            epoch: Mutex::default(),
            rejoining: tokio::sync::Mutex::default(),
            left: AtomicBool::new(false),
            cli: OnceLock::new(),
            learned: Mutex::default(),
            roster: Mutex::new(roster),
            redeeming: Mutex::default(),
            owed: Mutex::default(),
            untidy: Mutex::default(),
            messages: Mutex::default(),
            kept: Mutex::default(),
            failures: Mutex::default(),
            heard: watch::Sender::new(0),
            started,
        })
    }

    /// Returns this relay's name among several.
    pub fn name(&self) -> &str {
        self.identity.name()
    }

    /// Returns this process's id at the store.
    fn id(&self) -> &Arc<str> {
        self.cli.get().unwrap_or_else(|| self.identity.id())
    }

    /// Returns the keys for names and seals.
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Returns a receiver of whether the store counts as available, and the reason if not.
    pub fn up(&self) -> watch::Receiver<Result<(), String>> {
        self.up.clone()
    }

    /// Number of relays that are alive, this one included.
    pub fn relays(&self) -> usize {
        self.roster.lock().alive(self.now()).max(1)
    }

    /// Sets the records of this relay, once.
    pub fn serve(&self, records: Arc<dyn Records>) {
        let _ = self.records.set(records);
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Asks the store once. [`Answer::Lost`]: this relay has to rejoin first.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] if the store does not answer.
    pub async fn ask(&self, command: &Command) -> Result<Answer, Unavailable> {
        let epoch = self.epoch.lock().clone();
        let Some(epoch) = epoch else {
            return match self.up.borrow().clone() {
                Ok(()) => Ok(Answer::Lost),
                Err(why) => Err(Unavailable(why)),
            };
        };
        let answer = self.execute(epoch.clone(), command).await?;
        if answer == Answer::Lost {
            self.epoch.lock().take_if(|known| *known == epoch);
        }
        Ok(answer)
    }

    /// Asks the store; after [`Answer::Lost`] rejoins and asks again.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] if the store does not answer.
    pub async fn ask_or_rejoin(&self, command: &Command) -> Result<Answer, Unavailable> {
        for _ in 0..2 {
            match self.ask(command).await? {
                Answer::Lost if self.rejoin().await => {}
                Answer::Lost => break,
                answer => return Ok(answer),
            }
        }
        Err(Unavailable(match self.is_cli() {
            true => NOBODY.to_owned(),
            false => "it has lost what it had, and this relay is not back yet".to_owned(),
        }))
    }

    /// Asks the store in the background; the answer does not matter.
    pub fn ask_in_background(self: &Arc<Self>, command: Command) {
        self.in_background(|member| async move {
            let _ = member.ask_or_rejoin(&command).await;
        });
    }

    /// Spawns a task of this relay, if there is a runtime.
    fn in_background<F>(self: &Arc<Self>, task: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(task(self.clone()));
        }
    }

    async fn execute(&self, epoch: Arc<str>, command: &Command) -> Result<Answer, Unavailable> {
        let context = Context {
            run: "".into(),
            epoch,
            relay: self.id().clone(),
        };
        self.store.execute(&context, command).await
    }

    fn ages(&self) -> super::command::Ages {
        self.roster.lock().ages(self.now())
    }

    /// Handles the roster from the store, which was asked for at `asked`.
    fn on_roster(&self, ages: &super::command::Ages, asked: Duration) {
        let now = self.now();
        self.change_roster(now, |roster| roster.on_answer(ages, asked, now));
    }

    fn change_roster(&self, now: Duration, change: impl FnOnce(&mut Roster)) {
        let mut roster = self.roster.lock();
        change(&mut roster);
        let changed = roster.clone();
        drop(roster);
        self.identity.remember(&changed, now);
    }

    // ---- tasks

    /// Sends beats, renews entries and handles messages; never ends by itself.
    pub async fn live(self: Arc<Self>, mut published: mpsc::UnboundedReceiver<Published>) {
        let mut beats = tokio::time::interval(BEAT);
        let mut renewals = tokio::time::interval(RENEW);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        renewals.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = published.recv() => match message {
                    Some(message) => self.on_published(message).await,
                    None => return,
                },
                _ = beats.tick() => {
                    // Not here: what is told meanwhile must not wait.
                    tokio::spawn(self.clone().beat());
                }
                _ = renewals.tick() => {
                    tokio::spawn(self.clone().renew());
                }
            }
        }
    }

    async fn beat(self: Arc<Self>) {
        if self.left.load(Ordering::Relaxed) {
            return;
        }
        if self.epoch.lock().is_none() {
            if self.up.borrow().is_ok() {
                self.rejoin().await;
            }
            return;
        }
        let asked = self.now();
        match self.ask(&Command::Beat).await {
            Ok(Answer::Roster { ages, .. }) => self.on_roster(&ages, asked),
            Ok(Answer::Lost) => {
                self.rejoin().await;
                return;
            }
            _ => return,
        }
        let epoch = self.epoch.lock().clone();
        let _ = self.hold(epoch).await;
        self.learn().await;
        let Some(records) = self.records.get() else {
            return;
        };
        let mut names: BTreeSet<_> = records.changed().await.into_iter().collect();
        names.extend(self.owed.lock().iter().cloned());
        names.extend(self.untidy.lock().drain());
        if !names.is_empty() {
            let names: Vec<_> = names.into_iter().collect();
            let comparing = Rejoin::comparing(names.clone());
            if self.compare(records, comparing).await.is_none() {
                self.untidy.lock().extend(names);
            }
        }
    }

    async fn renew(self: Arc<Self>) {
        let entries: Vec<_> = self
            .redeeming
            .lock()
            .iter()
            .filter(|(_, it)| !it.asking)
            .map(|(name, it)| (name.clone(), it.nonce))
            .collect();
        for (name, nonce) in entries {
            let _ = self.ask(&Command::Renew { name, nonce }).await;
        }
    }

    async fn on_published(self: &Arc<Self>, published: Published) {
        match published {
            Published::Connected | Published::Lost => {
                if matches!(published, Published::Connected) {
                    self.epoch.lock().take();
                }
                let member = self.clone();
                tokio::spawn(async move {
                    // The relay that has set the marker learns of it in the same way, by asking.
                    let _ = member.ask(&Command::Beat).await;
                    if member.rejoin().await {
                        member.learn().await;
                    }
                });
            }
            Published::Joined(id) => {
                let now = self.now();
                self.change_roster(now, |roster| roster.on_joined(id, self.id(), now));
            }
            Published::Record(name, record) => {
                if let Some(records) = self.records.get() {
                    records.adopt(&name, record).await;
                }
                self.heard.send_modify(|heard| *heard += 1);
            }
            Published::Kept(name, value, life) => self.on_kept(name, value, life),
            Published::Counted(name, count, locked) => self.on_counted(name, count, locked),
        }
    }

    /// Leaves the other relays, which then do not wait for this one. While it redeems, or has a token
    /// that the store has not taken, it does not leave: the others have to wait until it is back.
    pub async fn leave(&self) {
        if self.is_idle() {
            self.left.store(true, Ordering::Relaxed);
            let _ = self.ask(&Command::Leave).await;
        }
    }

    /// Whether nothing is being redeemed here, and the store has the results.
    fn is_idle(&self) -> bool {
        self.redeeming.lock().is_empty() && self.owed.lock().is_empty()
    }

    /// Waits until this relay may leave; without the store only until nothing is redeemed.
    pub async fn until_idle(&self) {
        let waits = || match self.up.borrow().is_ok() {
            true => !self.is_idle(),
            false => !self.redeeming.lock().is_empty(),
        };
        while waits() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    // ---- redemptions

    /// Records that a redemption asks to be entered.
    pub fn on_asking(&self, name: &Arc<str>, number: Number, nonce: Nonce, one_use: bool) {
        let it = Redeeming {
            number,
            nonce,
            asking: true,
            one_use,
        };
        self.redeeming.lock().insert(name.clone(), it);
    }

    /// Records that a redemption is entered.
    pub fn on_entered(&self, name: &str) {
        if let Some(it) = self.redeeming.lock().get_mut(name) {
            it.asking = false;
        }
    }

    /// Records that a redemption was not entered.
    pub fn on_not_entered(&self, name: &str, nonce: Nonce) {
        let mut redeeming = self.redeeming.lock();
        if redeeming.get(name).is_some_and(|it| it.nonce == nonce) {
            redeeming.remove(name);
        }
    }

    /// Records that a record has to be put.
    pub fn on_owed(&self, name: &Arc<str>) {
        self.owed.lock().insert(name.clone());
    }

    /// Records the end of the redemption with this nonce, without a result to put. The entry is removed
    /// at the next beat at the latest.
    pub async fn on_idle(&self, name: &Arc<str>, nonce: Nonce) {
        self.on_not_entered(name, nonce);
        let clear = Command::Clear {
            name: name.clone(),
            nonce,
        };
        if self.ask_or_rejoin(&clear).await.is_err() {
            self.untidy.lock().insert(name.clone());
        }
    }

    /// Whether the result of the last redemption still has to be put.
    pub fn owes(&self, name: &str) -> bool {
        self.owed.lock().contains(name)
    }

    /// Puts this relay's own record until the store answers.
    pub async fn put(&self, name: &Arc<str>) {
        let Some(records) = self.records.get() else {
            return;
        };
        self.owed.lock().insert(name.clone());
        let mut wait = Duration::from_millis(50);
        while let Some(record) = records.own(name).await {
            let put = Command::Put {
                name: name.clone(),
                record,
            };
            match self.ask_or_rejoin(&put).await {
                Ok(Answer::Done) => break,
                Ok(Answer::Greater(greater)) => {
                    records.adopt(name, greater).await;
                    break;
                }
                _ => {}
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(1));
        }
        self.owed.lock().remove(name);
    }

    /// Returns a receiver that changes with each published record.
    pub fn heard(&self) -> watch::Receiver<u64> {
        self.heard.subscribe()
    }
}
