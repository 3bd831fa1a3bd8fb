//! Consents by way of the token source: it has the HTTP clients and the store that they need.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::source::TokenSource;
use super::store::Store;
use super::{AuthorizationRequest, Consent, DeviceAuthorization, endpoint, grant, refusal};
use crate::config::Account;
use crate::fault::{Fault, Kind};

impl TokenSource {
    /// Begins a consent for `login` by a browser that comes back to `redirect`.
    ///
    /// # Errors
    ///
    /// Where the account's grant is another.
    pub fn start_consent(
        &self,
        account: &Arc<Account>,
        login: &str,
        redirect: &Url,
    ) -> Result<AuthorizationRequest, Fault> {
        grant::consent::start(account.clone(), login, redirect).map_err(|failure| failure.fault)
    }

    /// Redeems the code that came back and stores what it brings.
    ///
    /// # Errors
    ///
    /// The identity provider's refusal, or a store that cannot be written.
    pub async fn complete_consent(
        &self,
        pending: AuthorizationRequest,
        code: &str,
    ) -> Result<Consent, Fault> {
        let (endpoint, store) = self.endpoint_and_store(&pending.account)?;
        let login = pending.login.clone();
        self.before_act(&login).await;
        let completed = grant::consent::complete(pending, code, &endpoint, store, self.timeout);
        let consent = completed.await.map_err(|failure| failure.fault)?;
        self.after_act(&login).await;
        Ok(consent)
    }

    /// Builds the fault of what the identity provider sent instead of a code (RFC 6749 §4.1.2.1).
    pub fn refused_consent(
        &self,
        pending: &AuthorizationRequest,
        error: &str,
        description: &str,
    ) -> Fault {
        refusal::at_consent(&pending.account.registration, error, description).fault
    }

    /// Puts back in force the good consent that the last one replaced, which the mail service does
    /// not take; whether there was one.
    pub async fn take_back_consent(&self, account: &Account, login: &str) -> bool {
        let Some(store) = &self.store else {
            return false;
        };
        let taken = grant::consent::take_back(account, login, store, self.timeout).await;
        let taken = taken.unwrap_or(false);
        if taken {
            self.after_act(login).await;
        }
        taken
    }

    /// Begins a consent for `login` on another device.
    ///
    /// # Errors
    ///
    /// The identity provider's refusal, or another grant.
    pub async fn start_device(
        &self,
        account: &Arc<Account>,
        login: &str,
    ) -> Result<DeviceAuthorization, Fault> {
        let (endpoint, _) = self.endpoint_and_store(account)?;
        grant::device::start(account.clone(), login, &endpoint)
            .await
            .map_err(|failure| failure.fault)
    }

    /// Waits until the person has entered the code, and stores what that brings. `sleep` is
    /// awaited between questions.
    ///
    /// # Errors
    ///
    /// The identity provider's refusal, or a store that cannot be written.
    pub async fn complete_device<F>(
        &self,
        device: &DeviceAuthorization,
        sleep: impl Fn(Duration) -> F,
    ) -> Result<Consent, Fault>
    where
        F: Future<Output = ()>,
    {
        let (endpoint, store) = self.endpoint_and_store(&device.account)?;
        self.before_act(&device.login).await;
        let completed = grant::device::complete(device, &endpoint, store, self.timeout, sleep);
        let consent = completed.await.map_err(|failure| failure.fault)?;
        self.after_act(&device.login).await;
        Ok(consent)
    }

    /// Fetches what the other relays have, which a person's act has to supersede.
    async fn before_act(&self, login: &str) {
        if let Some(shared) = self.shared() {
            shared.fetch(login).await;
        }
    }

    /// Informs the other relays of a person's act.
    async fn after_act(&self, login: &str) {
        if let Some(shared) = self.shared() {
            shared.publish(login).await;
        }
    }

    fn endpoint_and_store(
        &self,
        account: &Account,
    ) -> Result<(endpoint::Endpoint, &Arc<Store>), Fault> {
        let client = self.clients.get(&account.registration.provider.name);
        match (client, &self.store) {
            (Some(client), Some(store)) => {
                let provider = &account.registration.provider;
                let endpoint = endpoint::Endpoint::new(client.clone(), self.timeout, provider);
                Ok((endpoint, store))
            }
            _ => Err(Fault::new(
                Kind::Internal,
                "there is no store for what a consent brings",
            )),
        }
    }
}
