//! Consents through the token source, which has the required HTTP clients and store.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::endpoint::Endpoint;
use super::failure::TokenError;
use super::source::TokenSource;
use super::store::Store;
use super::{AuthorizationRequest, Consent, DeviceAuthorization, grant, refusal};
use crate::config::Account;
use crate::fault::{Fault, Kind};

impl TokenSource {
    /// Begins a consent for `login` in a browser that returns to `redirect`. Returns the URL to which
    /// to send the user, and the `state` that only this user knows.
    ///
    /// # Errors
    ///
    /// The account has another grant.
    pub fn start_consent(
        &self,
        account: &Arc<Account>,
        login: &str,
        redirect: &Url,
    ) -> Result<(AuthorizationRequest, Url, String), Fault> {
        Ok(grant::consent::start(account.clone(), login, redirect)?)
    }

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

    /// Builds the fault for an error that the identity provider returned instead of a code (RFC
    /// 6749 §4.1.2.1).
    pub fn refused_consent(
        &self,
        pending: &AuthorizationRequest,
        error: &str,
        description: &str,
    ) -> Fault {
        refusal::at_consent(&pending.account.registration, error, description).fault
    }

    /// Restores the previous consent if the mail service refuses the mailbox to the last one.
    /// Returns whether there was one.
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
        let detail = "there is no store for what a consent brings";
        let both = self.endpoint(account).zip(self.store.as_ref());
        both.ok_or_else(|| Fault::new(Kind::Internal, detail))
    }
}
