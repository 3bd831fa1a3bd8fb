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
use crate::token::authorization::Completed;
use crate::token::sharing::SharedRecords;
use crate::token::{AuthorizationRequest, Consent, TokenSource};

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
    stage: Stage,
}

enum Stage {
    /// The user is at the identity provider.
    Unavailable(Box<AuthorizationRequest>),
    /// The user has returned, and the code is being redeemed.
    Back,
    /// The authorization has ended; `None` means success.
    Ended(Option<Fault>),
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

/// A consent that was given and stored.
#[derive(Debug, Clone)]
pub struct GrantedConsent {
    /// Login of the consent.
    pub login: String,
    /// Mailbox that the login opens.
    pub mailbox: String,
    /// The stored consent.
    pub consent: Consent,
}

impl GrantedConsent {
    /// User who signed in, if not the mailbox's owner: correct for a delegate of a shared mailbox,
    /// otherwise the usual mistake.
    pub fn somebody_else(&self) -> Option<&str> {
        let identity = self.consent.identity.as_deref()?;
        (!identity.eq_ignore_ascii_case(&self.mailbox)).then_some(identity)
    }

    /// Warning about such a user, as text.
    pub fn warning(&self) -> Option<String> {
        let (other, mailbox) = (self.somebody_else()?, &self.mailbox);
        Some(format!(
            "{other} signed in, and the mailbox is {mailbox}. That is right only if {other} has full access to it \
             (a shared mailbox). If not, sign out at the identity provider, authorize again, and sign in as {mailbox}."
        ))
    }

    /// Logs the consent.
    pub fn log(&self) {
        tracing::info!(
            login = self.login,
            mailbox = self.mailbox,
            identity = self.consent.identity,
            "consent given"
        );
        if let Some(warning) = self.warning() {
            tracing::warn!(login = self.login, "{warning}");
        }
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

    /// Returns the redirect URI of a public URL: `PUBLIC_URL/oauth/callback`.
    pub fn redirect_of(public_url: &Url) -> Url {
        let mut url = public_url.clone();
        let path = format!("{}/oauth/callback", public_url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
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
        let pending = token_source.start_consent(account, login, &self.redirect)?;
        let url = pending.url.clone();
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
        let state = pending.state.clone();
        let entry = Entry {
            began: now,
            stage: Stage::Unavailable(Box::new(pending)),
        };
        if let (Some(shared), Stage::Unavailable(pending)) = (token_source.shared(), &entry.stage) {
            shared.on_authorization(&state, &pending.shared(), LIFETIME);
        }
        entries.insert(state, entry);
        Ok(url)
    }

    /// Whether the query of a redirect contains the state of a pending consent.
    pub fn is_awaited(&self, query: &str) -> bool {
        let state = parameter(query, "state");
        let entries = self.entries.lock();
        let key = known(&entries, &state);
        key.and_then(|key| entries.get(&key)).is_some_and(|entry| {
            matches!(entry.stage, Stage::Unavailable(_)) && entry.began.elapsed() < LIFETIME
        })
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
                Some((detail, remedy)) => {
                    let fault = Fault::new(Kind::GrantRefused, detail);
                    Progress::Failed(match remedy {
                        Some(remedy) => fault.with_remedy(remedy),
                        None => fault,
                    })
                }
            });
        }
        match here {
            None if shared.is_pending(state).await => Some(Progress::Pending),
            here => here,
        }
    }

    fn progress_here(&self, state: &str) -> Option<Progress> {
        let entries = self.entries.lock();
        let key = known(&entries, state)?;
        Some(match &entries.get(&key)?.stage {
            Stage::Unavailable(_) | Stage::Back => Progress::Pending,
            Stage::Ended(None) => Progress::Given,
            Stage::Ended(Some(fault)) => Progress::Failed(fault.clone()),
        })
    }

    /// Completes a consent with the query of the redirect: `code` and `state`, or `error`.
    ///
    /// # Errors
    ///
    /// The state is unknown or was used; the identity provider refused; the store cannot be
    /// written.
    pub async fn finish(
        &self,
        token_source: &TokenSource,
        query: &str,
    ) -> Result<GrantedConsent, Fault> {
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
    ) -> Result<GrantedConsent, Fault> {
        let state = parameter(query, "state");
        // Taken first: whatever the result, the state is used.
        let taken = match token_source.shared() {
            Some(shared) => self.take_from_all(shared, accounts, &state).await,
            None => self.take(&state),
        };
        let Some((key, pending)) = taken else {
            return Err(Fault::new(
                Kind::GrantRefused,
                "no one was sent to the identity provider with this state, or it was used, or ten minutes are over",
            )
            .with_remedy("start the consent again"));
        };
        let result = finish(token_source, pending, query).await;
        if let Some(entry) = self.entries.lock().get_mut(&key) {
            entry.stage = Stage::Ended(result.as_ref().err().cloned());
        }
        if let Some(shared) = token_source.shared() {
            let failed = result
                .as_ref()
                .err()
                .map(|fault| (fault.detail().to_owned(), fault.remedy().map(str::to_owned)));
            shared.on_completed(&key, &Completed { failed }, LIFETIME);
        }
        result
    }

    /// Takes the consent of this relay or of another; each can be taken once.
    async fn take_from_all(
        &self,
        shared: &SharedRecords,
        accounts: impl Fn(&str) -> Option<Arc<Account>>,
        state: &str,
    ) -> Option<(String, AuthorizationRequest)> {
        let elsewhere = shared.take_authorization(state).await;
        if shared.completed(state).is_some() {
            return None;
        }
        let here = self.take(state);
        if here.is_some() {
            return here;
        }
        let elsewhere = elsewhere?;
        let account = accounts(&elsewhere.login)?;
        let pending = AuthorizationRequest::from_shared(elsewhere, account, state)?;
        Some((state.to_owned(), pending))
    }

    fn take(&self, state: &str) -> Option<(String, AuthorizationRequest)> {
        let mut entries = self.entries.lock();
        let key = known(&entries, state)?;
        let entry = entries.get_mut(&key)?;
        if entry.began.elapsed() >= LIFETIME {
            return None;
        }
        match std::mem::replace(&mut entry.stage, Stage::Back) {
            Stage::Unavailable(pending) => Some((key, *pending)),
            used => {
                entry.stage = used;
                None
            }
        }
    }
}

/// Finds a state in constant time, so that timing reveals no part of it.
fn known(entries: &HashMap<String, Entry>, state: &str) -> Option<String> {
    let is_it = |known: &&String| bool::from(known.as_bytes().ct_eq(state.as_bytes()));
    entries.keys().find(is_it).cloned()
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
    pending: AuthorizationRequest,
    query: &str,
) -> Result<GrantedConsent, Fault> {
    let error = parameter(query, "error");
    if !error.is_empty() {
        let description = parameter(query, "error_description");
        return Err(token_source.refused_consent(&pending, &error, &description));
    }
    let code = parameter(query, "code");
    if code.is_empty() {
        return Err(Fault::new(
            Kind::GrantRefused,
            "the identity provider sent neither a code nor an error",
        ));
    }
    let (login, mailbox) = (pending.login().to_owned(), pending.mailbox());
    let consent = token_source.complete_consent(pending, &code).await?;
    let given = GrantedConsent {
        login,
        mailbox,
        consent,
    };
    given.log();
    Ok(given)
}
