//! Pending consents: users who were sent to the identity provider, and may return once within ten
//! minutes, with the `state` that only they know.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;
use url::Url;

use crate::config::Account;
use crate::fault::{Fault, Kind};
use crate::token::grant::consent;
use crate::token::sharing::{Completed, SharedRecords};
use crate::token::{AuthorizationRequest, Consent, TokenSource, refusal};

/// Longest time for a user to consent.
pub const LIFETIME: Duration = Duration::from_secs(600);

/// Maximum number of pending consents; the oldest are dropped beyond it.
const CAP: usize = 1_000;

/// Pending consents, and the results of those that ended within their ten minutes.
pub struct PendingAuthorizations {
    redirect: Url,
    entries: Mutex<HashMap<String, Entry>>,
}

struct Entry {
    began: Instant,
    /// Request of the user who is at the identity provider; `None` once the user has returned.
    request: Option<AuthorizationRequest>,
    progress: Progress,
}

/// Progress of a consent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The consent has no result yet.
    Pending,
    /// The consent was given and stored.
    Given,
    /// The consent was refused or could not be stored.
    Failed(Fault),
}

impl Progress {
    /// Fault of a consent that was refused at another relay, with its detail and remedy.
    pub fn refusal(detail: &str, remedy: Option<String>) -> Fault {
        let fault = Fault::new(Kind::GrantRefused, detail);
        remedy.into_iter().fold(fault, Fault::with_remedy)
    }
}

impl PendingAuthorizations {
    /// Creates the registry with the redirect URI registered at the identity provider.
    pub fn new(redirect: Url) -> Self {
        Self {
            redirect,
            entries: Mutex::default(),
        }
    }

    /// Redirect URI of the consents.
    pub fn redirect(&self) -> &Url {
        &self.redirect
    }

    /// Begins a consent. Returns the URL to which to send the user.
    ///
    /// # Errors
    ///
    /// The account has another grant.
    pub fn begin(
        &self,
        token_source: &TokenSource,
        account: &Arc<Account>,
        login: &str,
    ) -> Result<Url, Fault> {
        let (request, url, state) = consent::start(account.clone(), login, &self.redirect)?;
        let now = Instant::now();
        let mut entries = self.entries.lock();
        entries.retain(|_, entry| now.duration_since(entry.began) < LIFETIME);
        if entries.len() >= CAP
            && let Some(oldest) = entries
                .iter()
                .min_by_key(|(_, entry)| entry.began)
                .map(|(state, _)| state.clone())
        {
            entries.remove(&oldest);
        }
        if let Some(shared) = token_source.shared() {
            shared.on_authorization(&state, &request.shared, LIFETIME);
        }
        let entry = Entry {
            began: now,
            request: Some(request),
            progress: Progress::Pending,
        };
        entries.insert(state, entry);
        Ok(url)
    }

    /// Whether the query of a redirect contains the state of a pending consent.
    pub fn is_awaited(&self, query: &str) -> bool {
        let state = parameter(query, "state");
        let mut entries = self.entries.lock();
        known(&mut entries, &state)
            .is_some_and(|entry| entry.request.is_some() && entry.began.elapsed() < LIFETIME)
    }

    /// Returns the progress of the consent with this state, whichever relay began or completed it.
    /// `None`: unknown or expired.
    pub async fn progress(&self, token_source: &TokenSource, state: &str) -> Option<Progress> {
        let here = self.progress_here(state);
        let Some(shared) = token_source.shared() else {
            return here;
        };
        match here {
            Some(Progress::Pending) | None => {}
            ended => return ended,
        }
        if let Some(completed) = shared.completed(state) {
            return Some(match completed.failed {
                None => Progress::Given,
                Some((detail, remedy)) => Progress::Failed(Progress::refusal(&detail, remedy)),
            });
        }
        match here {
            None if shared.is_pending(state).await => Some(Progress::Pending),
            here => here,
        }
    }

    fn progress_here(&self, state: &str) -> Option<Progress> {
        let mut entries = self.entries.lock();
        known(&mut entries, state).map(|entry| entry.progress.clone())
    }

    /// Completes a consent with the query of the redirect: `code` and `state`, or `error`.
    ///
    /// # Errors
    ///
    /// The state is unknown or was used; the identity provider refused; the store cannot be
    /// written.
    pub async fn finish(&self, token_source: &TokenSource, query: &str) -> Result<Consent, Fault> {
        self.finish_of_any(token_source, query, |_| None).await
    }

    /// Completes a consent as [`PendingAuthorizations::finish`] does, even if another relay began
    /// it. `accounts` finds the account of a login.
    ///
    /// # Errors
    ///
    /// Those of [`PendingAuthorizations::finish`].
    pub async fn finish_of_any(
        &self,
        token_source: &TokenSource,
        query: &str,
        accounts: impl Fn(&str) -> Option<Arc<Account>>,
    ) -> Result<Consent, Fault> {
        let state = parameter(query, "state");
        // Taken first: whatever the result, the state is used.
        let taken = match token_source.shared() {
            Some(shared) => self.take_from_all(shared, accounts, &state).await,
            None => self.take(&state),
        };
        let Some(request) = taken else {
            return Err(Fault::new(
                Kind::GrantRefused,
                "no one was sent to the identity provider with this state, or it was used, or ten minutes are over",
            )
            .with_remedy("start the consent again"));
        };
        let result = finish(token_source, request, query).await;
        if let Some(entry) = self.entries.lock().get_mut(&state) {
            entry.progress = match &result {
                Ok(_) => Progress::Given,
                Err(fault) => Progress::Failed(fault.clone()),
            };
        }
        if let Some(shared) = token_source.shared() {
            let failed = result
                .as_ref()
                .err()
                .map(|fault| (fault.detail().to_owned(), fault.remedy().map(str::to_owned)));
            shared.on_completed(&state, &Completed { failed }, LIFETIME);
        }
        result
    }

    /// Takes the consent of this relay or of another; each can be taken once.
    async fn take_from_all(
        &self,
        shared: &SharedRecords,
        accounts: impl Fn(&str) -> Option<Arc<Account>>,
        state: &str,
    ) -> Option<AuthorizationRequest> {
        let elsewhere = shared.take_authorization(state).await;
        if shared.completed(state).is_some() {
            return None;
        }
        let here = self.take(state);
        if here.is_some() {
            return here;
        }
        let shared = elsewhere?;
        let account = accounts(&shared.login)?;
        Some(AuthorizationRequest { account, shared })
    }

    fn take(&self, state: &str) -> Option<AuthorizationRequest> {
        let mut entries = self.entries.lock();
        let entry = known(&mut entries, state)?;
        match entry.began.elapsed() < LIFETIME {
            true => entry.request.take(),
            false => None,
        }
    }
}

/// Finds a state in constant time, so that timing reveals no part of it.
fn known<'e>(entries: &'e mut HashMap<String, Entry>, state: &str) -> Option<&'e mut Entry> {
    let mut entries = entries.iter_mut();
    let found = entries.find(|(known, _)| bool::from(known.as_bytes().ct_eq(state.as_bytes())));
    found.map(|(_, entry)| entry)
}

/// Returns a parameter of a redirect's query; empty if absent.
pub fn parameter(query: &str, name: &str) -> String {
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map_or_else(String::new, |(_, value)| value.into_owned())
}

/// Completes the authorization with the query of the redirect.
async fn finish(
    token_source: &TokenSource,
    request: AuthorizationRequest,
    query: &str,
) -> Result<Consent, Fault> {
    let error = parameter(query, "error");
    if !error.is_empty() {
        let description = parameter(query, "error_description");
        let registration = &request.account.registration;
        return Err(refusal::at_consent(registration, &error, &description).into());
    }
    let code = parameter(query, "code");
    if code.is_empty() {
        return Err(Fault::new(
            Kind::GrantRefused,
            "the identity provider sent neither a code nor an error",
        ));
    }
    token_source.complete_consent(request, &code).await
}
