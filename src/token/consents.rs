//! Consents through the token source, which has the required HTTP clients and store.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::failure::TokenError;
use super::source::TokenSource;
use super::store::{Owner, Store, StoredConsent};
use super::{AuthorizationRequest, Consent, DeviceAuthorization, grant};
use crate::config::Account;
use crate::fault::{Fault, Kind};

impl TokenSource {
    /// Redeems the returned code and stores the consent.
    ///
    /// # Errors
    ///
    /// The identity provider refused, or the store cannot be written.
    pub async fn complete_consent(
        &self,
        pending: AuthorizationRequest,
        code: &str,
    ) -> Result<Consent, Fault> {
        let (endpoint, store) = self.endpoint_and_store(&pending.account)?;
        let login = pending.shared.login.clone();
        let completed = grant::consent::complete(pending, code, &endpoint, store, self.timeout);
        self.complete(&login, completed).await
    }

    /// Restores the previous consent if the mail service refuses the mailbox to the last one.
    /// Returns whether there was one.
    pub async fn take_back_consent(&self, account: &Account, login: &str) -> bool {
        let Some(store) = &self.store else {
            return false;
        };
        let owner = Owner::of(&account.registration);
        let taking = async {
            let _turn = store.lock_written(login, self.timeout).await?;
            let record = store
                .load(login)
                .await?
                .and_then(|record| record.of(&owner));
            match record.and_then(StoredConsent::taken_back) {
                Some(before) => store.save(login, &before).await.map(|()| true),
                None => Ok::<_, TokenError>(false),
            }
        };
        let is_taken = taking.await.unwrap_or(false);
        if is_taken {
            self.after_act(login).await;
        }
        is_taken
    }

    /// Begins a consent for `login` on another device.
    ///
    /// # Errors
    ///
    /// The identity provider refused, or the account has another grant.
    pub async fn start_device(
        &self,
        account: &Arc<Account>,
        login: &str,
    ) -> Result<DeviceAuthorization, Fault> {
        let (endpoint, _) = self.endpoint_and_store(account)?;
        Ok(grant::device::start(account.clone(), login, &endpoint).await?)
    }

    /// Waits until the user has entered the code, and stores the consent. `sleep` is awaited
    /// between polls.
    ///
    /// # Errors
    ///
    /// The identity provider refused, or the store cannot be written.
    pub async fn complete_device<F>(
        &self,
        device: &DeviceAuthorization,
        sleep: impl Fn(Duration) -> F,
    ) -> Result<Consent, Fault>
    where
        F: Future<Output = ()>,
    {
        let (endpoint, store) = self.endpoint_and_store(&device.account)?;
        let completed = grant::device::complete(device, &endpoint, store, self.timeout, sleep);
        self.complete(&device.login, completed).await
    }

    /// Waits for a consent to be stored, on every relay, and logs it.
    async fn complete(
        &self,
        login: &str,
        completed: impl Future<Output = Result<Consent, TokenError>>,
    ) -> Result<Consent, Fault> {
        self.before_act(login).await;
        let consent = completed.await?;
        self.after_act(login).await;
        consent.log();
        Ok(consent)
    }

    /// Fetches the records of other relays, which the user's action must supersede.
    pub(super) async fn before_act(&self, login: &str) {
        if let Some(shared) = self.shared() {
            shared.fetch(login).await;
        }
    }

    /// Publishes the result of the user's action to other relays.
    pub(super) async fn after_act(&self, login: &str) {
        if let Some(shared) = self.shared() {
            shared.publish(login).await;
        }
    }

    fn endpoint_and_store(&self, account: &Account) -> Result<(Endpoint, &Arc<Store>), Fault> {
        let detail = "there is no store for the tokens of a consent";
        let both = self.endpoint(account).zip(self.store.as_ref());
        both.ok_or_else(|| Fault::new(Kind::Internal, detail))
    }
}
