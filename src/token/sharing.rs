//! Tokens that several relays share: this relay's records, and one redemption for all.
//!
//! `cluster::redemption` decides without IO, and this module carries its decisions out. Consents are
//! written to this relay's disk before they are put into the shared store; tokens of the other
//! grants are only in memory.

mod authorizations;
mod records;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::cache_key::CacheKey;
use super::failure::{Class, TokenError};
use super::grant::{Redeems, Request};
use super::issued::IssuedToken;
use crate::cluster::awake::awake_timeout;
use crate::cluster::command::{Answer, Command, Sealed};
use crate::cluster::member::{Member, nonce};
use crate::cluster::number::Number;
use crate::cluster::redemption::{Asked, Mark, Outcome, Redemption, Step, Usability};
use crate::config::{Grant as Configured, RefreshTokens};
pub(in crate::token) use authorizations::{Completed, SharedAuthorization};
pub(crate) use records::SharedRecords;

/// Longest time for a request to the identity provider: it ends before the lease of its entry in the
/// shared store.
const REQUEST: Duration = Duration::from_secs(25);

/// State of this relay's own record.
struct Own {
    mark: Option<Mark>,
    usability: Usability,
    /// Token that may be given to a login, or the reason why there is none.
    token: Result<IssuedToken, TokenError>,
}

impl Own {
    /// State of a record that has not ended, with its token if that is still usable.
    fn valid(mark: Option<Mark>, token: Option<IssuedToken>) -> Self {
        let usability = match token {
            Some(_) => Usability::Usable,
            None => Usability::Redeemable,
        };
        Self {
            mark,
            usability,
            token: token.ok_or_else(|| unavailable("no token has come")),
        }
    }
}

/// One token request in progress, for all relays.
pub(super) struct Sharing<'a> {
    records: Arc<SharedRecords>,
    request: &'a Request,
    name: Arc<str>,
    consent: bool,
    found: Option<Sealed>,
    began: Instant,
    /// Result of the last request.
    issued: Option<IssuedToken>,
    failed: Option<TokenError>,
}

impl SharedRecords {
    /// Whether the tokens of a grant are shared: those from an endpoint that is the same for all
    /// relays.
    pub(super) fn shares(grant: &Configured) -> bool {
        !matches!(
            grant,
            Configured::Command { .. } | Configured::ManagedIdentity { .. }
        )
    }

    /// Gets a token from this relay's records, another relay's, or the identity provider.
    pub(super) async fn send(
        self: &Arc<Self>,
        request: &Request,
        purpose: &CacheKey,
    ) -> Result<IssuedToken, TokenError> {
        let consent = request.account.registration.grant.needs_consent();
        let name = match consent {
            true => self.store.name(&request.login),
            false => purpose.name(self.store.keys()),
        };
        let sharing = Sharing {
            records: self.clone(),
            consent,
            request,
            name: name.into(),
            found: None,
            began: Instant::now(),
            issued: None,
            failed: None,
        };
        sharing.run().await
    }
}

impl Sharing<'_> {
    async fn run(mut self) -> Result<IssuedToken, TokenError> {
        let own = self.own().await;
        // A usable token of this relay needs no operation of the store.
        if own.usability == Usability::Usable {
            return own.token;
        }
        self.wait_for_put().await?;
        let provider = &self.request.account.registration.provider;
        let one_use = self.consent && provider.refresh_tokens == RefreshTokens::OneUse;
        let patience = self.request.timeout;
        let (mut machine, mut step) =
            Redemption::new(one_use, own.mark, own.usability, patience, self.now());
        loop {
            step = match step {
                Step::Get => {
                    let name = self.name.clone();
                    self.ask(&mut machine, Command::Get { name }).await
                }
                Step::Put => match self.records.own_of(&self.name).await {
                    Some(record) => {
                        let name = self.name.clone();
                        self.ask(&mut machine, Command::Put { name, record }).await
                    }
                    None => machine.on_answer(None, nonce(), jitter(), self.now()),
                },
                Step::Adopt => self.adopt(&mut machine).await,
                Step::Begin(entry) => self.begin(&mut machine, entry, one_use).await,
                Step::Redeem(entry) => self.redeem(&mut machine, entry).await,
                Step::End(entry) => self.end(&mut machine, entry).await,
                Step::Rejoin => {
                    self.member().rejoin().await;
                    machine.on_woken()
                }
                Step::Wait(time) => {
                    let mut heard = self.member().heard();
                    let _ = tokio::time::timeout(time, heard.changed()).await;
                    machine.on_woken()
                }
                Step::Give(outcome, entry) => return self.give(outcome, entry).await,
            };
        }
    }

    fn member(&self) -> &Arc<Member> {
        &self.records.member
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits until this relay's last record is in the shared store, since it is not redeemed before.
    /// Does not wait for an unavailable store.
    async fn wait_for_put(&self) -> Result<(), TokenError> {
        let up = self.member().up();
        while self.member().owes(&self.name) && up.borrow().is_ok() {
            if self.now() > self.request.timeout {
                return Err(unavailable(
                    "the tokens redeemed last are not in the shared store yet",
                ));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn ask(&mut self, machine: &mut Redemption, command: Command) -> Step {
        let answer = self.member().ask(&command).await.ok();
        match &answer {
            Some(Answer::Found { record, .. }) => self.found = record.clone(),
            Some(Answer::Greater(record)) => self.found = Some(record.clone()),
            _ => {}
        }
        machine.on_answer(answer.as_ref(), nonce(), jitter(), self.now())
    }

    async fn adopt(&mut self, machine: &mut Redemption) -> Step {
        let adopted = match self.found.take() {
            Some(found) => self.records.adopted(&self.name, found).await,
            None => false,
        };
        let own = self.own().await;
        let own = own
            .mark
            .filter(|_| adopted)
            .map(|mark| (mark, own.usability));
        machine.on_adopted(own, nonce())
    }

    async fn begin(&mut self, machine: &mut Redemption, entry: u64, one_use: bool) -> Step {
        if one_use && self.member().is_cli() {
            // Other relays do not wait for a process that is no relay, so its entry would protect
            // nothing.
            return machine.on_answer(None, nonce(), jitter(), self.now());
        }
        let number = machine.own().map(|own| own.number).unwrap_or_default();
        self.member().on_asking(&self.name, number, entry, one_use);
        let begin = Command::Begin {
            name: self.name.clone(),
            number,
            nonce: entry,
            one_use,
        };
        let answer = self.member().ask(&begin).await.ok();
        match &answer {
            Some(Answer::Done) => self.member().on_entered(&self.name),
            // Without an answer it is unknown whether the entry was made.
            Some(_) => self.member().on_not_entered(&self.name, entry),
            None => {}
        }
        let step = machine.on_answer(answer.as_ref(), nonce(), jitter(), self.now());
        if let (None, Step::Redeem(None)) = (&answer, &step) {
            // An entry that was made all the same is removed when the new record is put.
            self.member().on_not_entered(&self.name, entry);
        }
        step
    }

    async fn redeem(&mut self, machine: &mut Redemption, entry: Option<u64>) -> Step {
        if let Some(paused) = self.paused() {
            self.failed = Some(paused);
            return machine.on_asked(Asked::Nothing);
        }
        let number = machine.own().map(|own| own.number).unwrap_or_default();
        let redeems = match entry {
            Some(_) => Redeems::Entered(number),
            None => Redeems::Only(number),
        };
        let asked = match awake_timeout(REQUEST, self.request.send(redeems)).await {
            Some(asked) => asked,
            None => Err(TokenError::later("the identity provider did not answer").asked()),
        };
        match asked {
            Ok(issued) => {
                if !self.consent {
                    let number = number.redeemed();
                    self.records.keep_token(&self.name, number, &issued);
                }
                self.issued = Some(issued);
                let (member, name) = (self.member().clone(), self.name.clone());
                member.on_owed(&name);
                tokio::spawn(async move {
                    member.put(&name).await;
                    if let Some(entry) = entry {
                        member.on_idle(&name, entry).await;
                    }
                });
                machine.on_asked(Asked::Token)
            }
            Err(failure) => {
                let is_final = failure.asked && failure.class == Class::Ended && self.consent;
                self.publish_pause(&failure);
                self.failed = Some(failure);
                machine.on_asked(match is_final {
                    true => Asked::Invalid,
                    false => Asked::Nothing,
                })
            }
        }
    }

    /// Marks the record as ended, with the reason.
    async fn end(&mut self, machine: &mut Redemption, entry: u64) -> Step {
        let record = match (&self.failed, machine.own()) {
            (Some(failure), Some(own)) => {
                self.records
                    .ended(&self.request.login, own.number, failure)
                    .await
            }
            _ => None,
        };
        let Some(record) = record else {
            return machine.on_answer(Some(&Answer::Moved), nonce(), jitter(), self.now());
        };
        let end = Command::End {
            name: self.name.clone(),
            nonce: entry,
            record: record.clone(),
        };
        let answer = self.member().ask(&end).await.ok();
        if answer == Some(Answer::Done) {
            self.records.adopted(&self.name, record).await;
        }
        machine.on_answer(answer.as_ref(), nonce(), jitter(), self.now())
    }

    async fn give(self, outcome: Outcome, entry: Option<u64>) -> Result<IssuedToken, TokenError> {
        if let Some(entry) = entry {
            let (member, name) = (self.member().clone(), self.name.clone());
            tokio::spawn(async move { member.on_idle(&name, entry).await });
        }
        match outcome {
            Outcome::Usable | Outcome::Useless => match self.issued {
                Some(issued) if outcome == Outcome::Usable => Ok(issued),
                _ => self.own().await.token,
            },
            Outcome::Refused(_) | Outcome::Failed => Err(self
                .failed
                .unwrap_or_else(|| TokenError::brief("another record has come meanwhile"))),
            Outcome::Held => Err(unavailable(
                "another relay redeems the refresh token, and takes long",
            )),
            Outcome::Unavailable if self.member().is_cli() => Err(unavailable(
                "the shared store is away, or the refresh token is good once: only a relay that is running redeems it",
            )),
            Outcome::Unavailable => Err(unavailable(
                "the shared store is away, or not every relay is back since it was: this relay knows no consent, or must not redeem one by itself",
            )),
        }
    }

    /// State of this relay's own record.
    async fn own(&self) -> Own {
        match self.consent {
            true => self.own_consent().await,
            false => self.own_token(),
        }
    }

    async fn own_consent(&self) -> Own {
        let mark = self.records.own_of(&self.name).await.map(|own| own.mark());
        let request = self.request;
        match request.usable().await {
            Ok(record) => {
                // A forced refresh accepts only a token that was obtained since it began.
                let is_old = request.force_refresh && !record.is_newer_than(request.since);
                let token = request.usable_token(record.access());
                Own::valid(mark, token.filter(|_| !is_old))
            }
            Err(failure) => Own {
                mark,
                usability: Usability::Useless,
                token: Err(failure),
            },
        }
    }

    fn own_token(&self) -> Own {
        let (sealed, access) = self.records.token(&self.name).unzip();
        let mark = sealed.map(|sealed| sealed.mark());
        Own::valid(mark, self.request.usable_token(access.as_ref()))
    }

    /// Returns the failure of a pause that an endpoint has imposed on any of the relays.
    fn paused(&self) -> Option<TokenError> {
        let name = self.pause_name();
        let (why, until) = self.member().kept(&name)?;
        let clear = self.records.store.keys().open(&name, &why).ok();
        let why = clear.and_then(|(_, clear)| String::from_utf8(clear.to_vec()).ok());
        let why = why.unwrap_or_else(|| "another relay was told to wait".to_owned());
        let mut failure = TokenError::brief(why);
        failure.retry_after = Some(until.saturating_duration_since(Instant::now()));
        Some(failure)
    }

    /// Informs the other relays of a pause: a throttled relay, or an outage, concerns all.
    fn publish_pause(&self, failure: &TokenError) {
        let Class::Later { throttled } = failure.class else {
            return;
        };
        let asked = failure.retry_after.filter(|_| failure.asked);
        let time = match (asked, throttled) {
            (Some(time), _) => time,
            (None, true) => Duration::from_secs(1),
            (None, false) => return,
        };
        let name = self.pause_name();
        let detail = failure.fault.detail().as_bytes();
        let keys = self.records.store.keys();
        if let Some(sealed) = keys.seal(&name, Number::default(), detail) {
            self.member().keep(name.into(), sealed.into(), time);
        }
    }

    /// Name of the pause of a registration's endpoint in the shared store.
    fn pause_name(&self) -> String {
        let registration = &self.request.account.registration;
        let parts = [registration.token_url.as_str(), &registration.client_id];
        self.records.store.keys().name("pause", &parts)
    }
}

fn unavailable(why: &str) -> TokenError {
    TokenError::brief(why).remedy("the next login tries again; see docs/several-relays.md")
}

/// A random number from 0 to 1.
pub(super) fn jitter() -> f64 {
    let random = u32::try_from(nonce() & 0xffff).unwrap_or_default();
    f64::from(random) / 65_536.0
}

/// Records of consents before and after a person's action, on all relays.
impl SharedRecords {
    /// Fetches a login's record from the shared store, if the store is available.
    pub(crate) async fn fetch(&self, login: &str) {
        let name: Arc<str> = self.store.name(login).into();
        let get = Command::Get { name: name.clone() };
        if let Ok(Answer::Found {
            record: Some(record),
            ..
        }) = self.member.ask_or_rejoin(&get).await
        {
            self.adopted(&name, record).await;
        }
    }

    /// Reason why the shared store does not have the last change of a login's record yet; `None` if
    /// it has.
    pub(crate) fn unshared(&self, login: &str) -> Option<String> {
        let is_owed = self.member.owes(&self.store.name(login));
        let why = || "it does not accept the record".to_owned();
        is_owed.then(|| self.member.trouble().unwrap_or_else(why))
    }

    /// Puts a login's record into the shared store, and retries until it is there.
    pub(crate) async fn publish(self: &Arc<Self>, login: &str) {
        let name: Arc<str> = self.store.name(login).into();
        let member = self.member.clone();
        member.on_owed(&name);
        let putting = tokio::spawn(async move { member.put(&name).await });
        let _ = tokio::time::timeout(Duration::from_millis(500), putting).await;
    }
}
