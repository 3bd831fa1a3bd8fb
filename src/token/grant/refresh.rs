//! Tokens from a user's consent: redeems the stored refresh token and stores its successor.
//!
//! A refresh token may be valid only once. Space for its successor is therefore reserved on disk
//! before it is redeemed. If the successor still cannot be written, it is kept in memory, used, and
//! written later. Meanwhile the record stays locked, so that the old token is never redeemed again.

use super::super::endpoint::Endpoint;
use super::super::failure::{Class, TokenError};
use super::super::issued::IssuedToken;
use super::super::store::{ConsentRefusal, Owner, Room, StoreTurn, StoredConsent};
use super::form::Form;
use super::request::Request;
use crate::cluster::number::Number;

/// Records that a request may redeem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::token) enum Redeems {
    /// Any record; the result concerns this relay only.
    Any,
    /// The record with this number, which this relay redeems by itself.
    Only(Number),
    /// The record with this number, for which this relay is entered in the shared store. The store
    /// accepts the result even if the disk is full.
    Entered(Number),
}

impl Redeems {
    /// Whether a record is the one that may be redeemed.
    fn is_for(self, record: &StoredConsent) -> bool {
        match self {
            Self::Any => true,
            Self::Only(number) | Self::Entered(number) => record.number == number,
        }
    }
}

/// Gets a token for the account, from the store or from the endpoint.
pub(super) async fn refresh(
    request: &Request,
    endpoint: &Endpoint,
    redeems: Redeems,
) -> Result<IssuedToken, TokenError> {
    let store = request.store.as_ref().ok_or_else(no_store)?;
    // Checked first, so that unknown logins leave no lock files.
    request.usable().await?;
    // No other process and no new consent may write between reading and writing.
    let turn = store.lock(&request.login, request.timeout).await?;
    let access = |record: &StoredConsent| {
        let grant = request.usable_token(record.access());
        grant.filter(|_| !request.force_refresh)
    };
    let turn = match store.write_pending(turn).await {
        Ok(turn) => turn,
        // The token is valid even if its record is not stored.
        Err((failure, pending)) => match (access(&pending), redeems) {
            (Some(grant), _) => return Ok(unstored(grant)),
            // The shared store has the record, and accepts its successor.
            (None, Redeems::Entered(_)) => store.lock(&request.login, request.timeout).await?,
            (None, _) => return Err(failure),
        },
    };
    let record = match &turn.pending {
        Some(pending) => pending.clone(),
        None => request.usable().await?,
    };
    if let Some(grant) = access(&record) {
        return Ok(grant);
    }
    if !redeems.is_for(&record) {
        return Err(TokenError::brief("another record has come meanwhile"));
    }
    let room = match (store.make_room(&request.login, &record).await, redeems) {
        (Ok(room), _) => Some(room),
        (Err(_), Redeems::Entered(_)) => None,
        (Err(failure), _) => return Err(failure),
    };
    redeem(request, endpoint, turn, room, record, redeems).await
}

/// A token whose record is not on disk.
fn unstored(mut grant: IssuedToken) -> IssuedToken {
    grant.unstored = true;
    grant
}

async fn redeem(
    request: &Request,
    endpoint: &Endpoint,
    mut turn: StoreTurn,
    room: Option<Room>,
    mut record: StoredConsent,
    redeems: Redeems,
) -> Result<IssuedToken, TokenError> {
    let store = request.store.as_ref().ok_or_else(no_store)?;
    let registration = &request.account.registration;
    let offline = &registration.provider.preset.scopes.offline;
    let scopes = record.refreshable(request.account.scope(), offline);
    let mut form = Form::of_client(registration, None)?;
    form.add("grant_type", "refresh_token");
    form.0.push(("refresh_token", record.refresh_token.clone()));
    form.add("scope", &scopes.join(" "));
    match endpoint.token(registration, &form.pairs()).await {
        Ok(answer) => {
            // Google, among others, does not replace it.
            if let Some(token) = answer.refresh_token() {
                record.refresh_token = token.clone();
            }
            let grant = answer.grant();
            record.number = record.number.redeemed();
            record.obtained(&grant);
            record.attention = None;
            record.prove();
            let stored = match room {
                Some(room) => store.fill(room, &request.login, &record).await,
                None => store.save(&request.login, &record).await,
            };
            if let Err(failure) = stored {
                tracing::error!(
                    login = request.login,
                    detail = failure.fault.detail(),
                    remedy = failure.fault.remedy(),
                    "a redeemed token cannot be stored; it is used, and written as soon as that is possible"
                );
                turn.write_later(record);
                return Ok(unstored(grant));
            }
            // The new record replaces a pending one, which is dropped.
            drop(turn.pending.take());
            Ok(grant)
        }
        Err(failure) => {
            if has_changed(&mut record, &failure, redeems)
                && let Some(room) = room
            {
                // The endpoint's reply counts even if it cannot be written.
                let _ = store.fill(room, &request.login, &record).await;
            }
            Err(failure)
        }
    }
}

/// Records a failed redemption. Returns whether the record has to be written.
fn has_changed(record: &mut StoredConsent, failure: &TokenError, redeems: Redeems) -> bool {
    match failure.class {
        // The relays decide together whether it counts.
        Class::Ended if redeems != Redeems::Any => false,
        Class::Ended => {
            record.refused = Some(ConsentRefusal::now(&failure.fault));
            record.attention = None;
            true
        }
        // Written once, not at each retry.
        Class::Attention if !record.is_refused_alike(&failure.fault) => {
            record.attention = Some(ConsentRefusal::now(&failure.fault));
            true
        }
        _ => false,
    }
}

fn no_store() -> TokenError {
    TokenError::new(
        Class::Ours,
        "the tokens of this account are not stored anywhere",
    )
}

impl Request {
    /// Returns the login's consent if it can be redeemed.
    pub(in crate::token) async fn usable(&self) -> Result<StoredConsent, TokenError> {
        let store = self.store.as_ref().ok_or_else(no_store)?;
        let login = &self.login;
        let registration = &self.account.registration;
        let none = |detail: String| {
            TokenError::new(Class::Ended, detail).remedy(format!(
                "run `authrelay authorize {}`, or open Authorize on the status page",
                crate::fault::shell_argument(login)
            ))
        };
        let Some(record) = store.load(login).await? else {
            return Err(none(format!("no one has consented for {login} yet")));
        };
        let other = record.application();
        let Some(record) = record.of(&Owner::of(registration)) else {
            return Err(none(format!(
                "the consent for {login} was given to another application ({other}), which the registration {} is not (any more)",
                registration.name
            )));
        };
        match &record.refused {
            Some(refusal) => Err(none(format!(
                "the consent for {login} has ended: {}",
                refusal.detail
            ))),
            None => Ok(record),
        }
    }
}
