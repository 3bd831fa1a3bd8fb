//! Tokens by a person's consent: the refresh token that it left is redeemed, and what comes
//! instead of it is stored.
//!
//! A refresh token may be good once. So room for its successor is made on disk before it is
//! redeemed; where the successor cannot be written all the same, it is kept, used and written
//! later, and meanwhile no one else gets hold of the record: the old one is never redeemed again.

use super::super::endpoint::Endpoint;
use super::super::failure::Class;
use super::super::failure::TokenError;
use super::super::issued::IssuedToken;
use super::super::store::{ConsentRefusal, Owner, Room, StoreTurn, StoredConsent};
use super::form::Form;
use super::request::Request;
use crate::cluster::number::Number;

/// Which record may be redeemed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redeems {
    /// Whichever is there; what comes of it is this relay's own business.
    Any,
    /// The one that this relay redeems by itself.
    Only(Number),
    /// The one that this relay was entered for in the shared store, which takes what comes of it.
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

/// A token for the account, from the store or from the endpoint.
pub(super) async fn refresh(
    request: &Request,
    endpoint: &Endpoint,
    redeems: Redeems,
) -> Result<IssuedToken, TokenError> {
    let store = request.store.as_ref().ok_or_else(kept_nowhere)?;
    // Logins without a consent, as many as clients make up, leave no lock's file.
    usable(request).await?;
    // Another process, or a new consent, must not write between our reading and writing.
    let mut turn = store.lock(&request.login, request.timeout).await?;
    let margin = request.account.registration.provider.token_margin;
    let access = |record: &StoredConsent| {
        let grant = record.access(margin, request.replaces.as_ref());
        grant.filter(|_| !request.anew)
    };
    if let Some(late) = turn.take_late() {
        turn = match store.write_late(turn, late).await {
            Ok(turn) => turn,
            // Its token is good, wherever it is kept.
            Err((failure, late)) => match (access(&late), redeems) {
                (Some(grant), _) => return Ok(unstored(grant)),
                // The shared store has it, and takes its successor.
                (None, Redeems::Entered(_)) => store.lock(&request.login, request.timeout).await?,
                (None, _) => return Err(failure),
            },
        };
    }
    let record = match turn.late() {
        Some(late) => late.clone(),
        None => usable(request).await?,
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
    let store = request.store.as_ref().ok_or_else(kept_nowhere)?;
    let registration = &request.account.registration;
    let offline = &registration.provider.scopes.offline;
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
                store.write_later(&request.login, turn, record);
                return Ok(unstored(grant));
            }
            // What it replaces need not be written any more.
            drop(turn.take_late());
            Ok(grant)
        }
        Err(failure) => {
            if has_changed(&mut record, &failure, redeems)
                && let Some(room) = room
            {
                // What the endpoint says counts, whether or not it can be written.
                let _ = store.fill(room, &request.login, &record).await;
            }
            Err(failure)
        }
    }
}

/// Enters a failed redemption into the record; whether that has to be written.
fn has_changed(record: &mut StoredConsent, failure: &TokenError, redeems: Redeems) -> bool {
    match failure.class {
        // Whether it counts is decided with the other relays.
        Class::Ended if redeems != Redeems::Any => false,
        Class::Ended => {
            record.refused = Some(ConsentRefusal::now(&failure.fault));
            record.attention = None;
            true
        }
        // Written once, and not for each time that it is asked again.
        Class::Attention if !record.is_refused_alike(&failure.fault) => {
            record.attention = Some(ConsentRefusal::now(&failure.fault));
            true
        }
        _ => false,
    }
}

fn kept_nowhere() -> TokenError {
    TokenError::new(Class::Ours, "tokens of this account are kept nowhere")
}

/// The account's record, if it can bring a token.
pub(super) async fn usable(request: &Request) -> Result<StoredConsent, TokenError> {
    let store = request.store.as_ref().ok_or_else(kept_nowhere)?;
    let login = &request.login;
    let registration = &request.account.registration;
    let none = |detail: String| {
        TokenError::new(Class::Ended, detail).remedy(format!(
            "run `authrelay authorize {login}`, or open Authorize on the status page"
        ))
    };
    let Some(record) = store.load(login).await? else {
        return Err(none(format!("nobody has consented for {login} yet")));
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
