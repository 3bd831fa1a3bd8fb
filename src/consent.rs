//! Consents under way: who was sent to the identity provider, and may come back once, within ten
//! minutes, with the state that only they know.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use subtle::ConstantTimeEq as _;
use tokio::time::Instant;
use url::Url;

use crate::config::Account;
use crate::fault::{Fault, Kind, harmless};
use crate::token::{Broker, Consent, Pending};

/// How long somebody may take to consent.
pub const LIFETIME: Duration = Duration::from_secs(600);

/// Consents that may be under way; beyond it the oldest are forgotten.
const CAP: usize = 1_000;

/// Consents under way.
pub struct Consents {
    redirect: Url,
    pending: Mutex<HashMap<String, (Pending, Instant)>>,
}

/// A consent that was given and stored.
#[derive(Debug, Clone)]
pub struct Given {
    /// For which login.
    pub login: String,
    /// Which mailbox that opens.
    pub mailbox: String,
    /// What came of it.
    pub consent: Consent,
}

impl Given {
    /// Who signed in, if that is somebody other than the mailbox: right for a delegate of a shared
    /// mailbox, and the classic mistake otherwise.
    pub fn somebody_else(&self) -> Option<&str> {
        let identity = self.consent.identity.as_deref()?;
        (!identity.eq_ignore_ascii_case(&self.mailbox)).then_some(identity)
    }

    /// The same in words, for people.
    pub fn warning(&self) -> Option<String> {
        let (other, mailbox) = (self.somebody_else()?, &self.mailbox);
        Some(format!(
            "{other} signed in, and the mailbox is {mailbox}. That is right only if {other} has full access to it \
             (a shared mailbox). If not, sign out at the identity provider, authorize again, and sign in as {mailbox}."
        ))
    }

    /// Tells the log.
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

impl Consents {
    /// With the redirect URI that the identity provider knows.
    pub fn new(redirect: Url) -> Self {
        Self {
            redirect,
            pending: Mutex::default(),
        }
    }

    /// `PUBLIC_URL/oauth/callback`.
    pub fn redirect_of(public_url: &Url) -> Url {
        let mut url = public_url.clone();
        let path = format!("{}/oauth/callback", public_url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }

    /// Where people come back to.
    pub fn redirect(&self) -> &Url {
        &self.redirect
    }

    /// Begins a consent: where to send the person.
    ///
    /// # Errors
    ///
    /// Where the account's grant is another.
    pub fn begin(
        &self,
        broker: &Broker,
        account: &Arc<Account>,
        login: &str,
    ) -> Result<Url, Fault> {
        let pending = broker.begin_consent(account, login, &self.redirect)?;
        let url = pending.url.clone();
        let now = Instant::now();
        let mut under_way = self.lock();
        under_way.retain(|_, (_, began)| now.duration_since(*began) < LIFETIME);
        if under_way.len() >= CAP
            && let Some(oldest) = under_way
                .iter()
                .min_by_key(|(_, (_, began))| *began)
                .map(|(state, _)| state.clone())
        {
            under_way.remove(&oldest);
        }
        under_way.insert(pending.state.clone(), (pending, now));
        Ok(url)
    }

    /// Somebody comes back with the query of the redirect: `code` and `state`, or `error`.
    ///
    /// # Errors
    ///
    /// A state that nobody was given, or that was used; the identity provider's refusal; a store
    /// that cannot be written.
    pub async fn finish(&self, broker: &Broker, query: &str) -> Result<Given, Fault> {
        let parameters: HashMap<_, _> = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let state = parameters.get("state").map_or("", String::as_str);
        // Taken out before anything else: whatever comes of it, it was used.
        let Some(pending) = self.take(state) else {
            return Err(Fault::new(
                Kind::GrantRefused,
                "nobody was sent to the identity provider with this state, or it was used, or ten minutes are over",
            )
            .remedy_is("begin the consent anew"));
        };
        if let Some(error) = parameters.get("error") {
            let description = parameters
                .get("error_description")
                .map_or("", String::as_str);
            return Err(refused(error, description));
        }
        let Some(code) = parameters.get("code").filter(|code| !code.is_empty()) else {
            return Err(Fault::new(
                Kind::GrantRefused,
                "the identity provider sent neither a code nor an error",
            ));
        };
        let (login, mailbox) = (pending.login().to_owned(), pending.mailbox());
        let consent = broker.finish_consent(pending, code).await?;
        let given = Given {
            login,
            mailbox,
            consent,
        };
        given.log();
        Ok(given)
    }

    fn take(&self, state: &str) -> Option<Pending> {
        let mut under_way = self.lock();
        let known = under_way
            .keys()
            .find(|known| bool::from(known.as_bytes().ct_eq(state.as_bytes())))
            .cloned()?;
        let (pending, began) = under_way.remove(&known)?;
        (began.elapsed() < LIFETIME).then_some(pending)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Pending, Instant)>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// RFC 6749 §4.1.2.1.
fn refused(error: &str, description: &str) -> Fault {
    let said = harmless(&format!("{error} {description}"));
    let fault = Fault::new(
        Kind::GrantRefused,
        format!("the identity provider refuses: {said}"),
    );
    if description.contains("AADSTS65004") || error == "access_denied" {
        return fault
            .remedy_is("the person declined: begin anew, and let the mailbox's owner agree");
    }
    if error == "consent_required" || description.contains("AADSTS90094") {
        return fault.remedy_is("an administrator of the tenant has to consent: grant admin consent under API permissions");
    }
    fault.remedy_is("look at the application's redirect URI and API permissions, then begin anew")
}
