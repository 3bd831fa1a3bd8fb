//! Tokens by a person's consent: the refresh token that it left is redeemed, and what comes
//! instead of it is on disk before anybody uses it.

use std::sync::Arc;

use oauth2::{RefreshToken, Scope};

use super::super::endpoint::Endpoint;
use super::super::store::{Record, Store};
use super::{Failure, Grant, Request, client_of, proof, refresh_token};
use crate::fault::{Fault, Kind};

/// A token for the account, from the store or from the endpoint.
pub(super) async fn refresh(request: &Request, endpoint: &Endpoint) -> Result<Grant, Failure> {
    let Some(store) = &request.store else {
        return Err(Failure::from(Fault::new(
            Kind::Internal,
            "tokens of this account are kept nowhere",
        )));
    };
    // Logins without a consent, as many as clients make up, leave no lock's file behind.
    usable(request, store).await?;
    // Another process, or a new consent, must not write between our reading and writing.
    let _lock = store.lock(&request.login, request.timeout).await?;
    let mut record = usable(request, store).await?;
    if let Some(grant) = record.access(request.replaces.as_ref())
        && !request.anew
    {
        return Ok(grant);
    }
    let registration = &request.account.registration;
    let client = client_of(registration);
    let token = RefreshToken::new(record.refresh_token.expose().to_owned());
    let offline = &registration.provider.scopes.offline;
    let scopes = record.refreshable(request.account.scope(), offline);
    let scopes = scopes.into_iter().map(Scope::new);
    let mut exchange = client.exchange_refresh_token(&token).add_scopes(scopes);
    for (name, value) in proof(registration)? {
        exchange = exchange.add_extra_param(name, value);
    }
    let answer = endpoint.answer(exchange.request_async(endpoint).await);
    match answer {
        Ok(answer) => {
            // Google, among others, does not replace it.
            if let Some(token) = refresh_token(&answer) {
                record.refresh_token = token;
            }
            let grant = Grant::from(&answer);
            record.obtained(&grant);
            store.save(&request.login, &record).await?;
            Ok(grant)
        }
        Err(failure) => {
            if failure.consent_ended {
                record.refuse(&failure.fault);
                store.save(&request.login, &record).await?;
            }
            Err(failure)
        }
    }
}

/// The account's record, if it can bring a token.
async fn usable(request: &Request, store: &Arc<Store>) -> Result<Record, Failure> {
    let login = &request.login;
    let advice = format!("run `authrelay authorize {login}`, or open Authorize on the status page");
    let refused = |detail: String| {
        let fault = Fault::new(Kind::GrantRefused, detail).remedy_is(advice.clone());
        Failure::from(fault)
    };
    let Some(record) = store.load(login).await? else {
        return Err(refused(format!("nobody has consented for {login} yet")));
    };
    if record.client_id != request.account.registration.client_id {
        return Err(refused(format!(
            "the consent for {login} was given to another application ({})",
            record.client_id
        )));
    }
    match &record.refused {
        Some(refusal) => Err(refused(format!(
            "the consent for {login} has ended: {}",
            refusal.detail
        ))),
        None => Ok(record),
    }
}
