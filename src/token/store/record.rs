//! Stored result of a consent, for one login.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::issued::{IssuedToken, now, now_ms};
use super::super::life::margin;
use crate::cluster::number::Number;
use crate::config::Registration;
use crate::fault::Fault;
use crate::secret::Secret;

/// Maximum number of consents to other applications that are kept for a roll-back.
const KEPT: usize = 4;

/// Application of a consent: another one may not redeem its refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    provider: String,
    tenant: String,
    client_id: String,
}

impl Owner {
    /// Creates the application of a registration.
    pub fn of(registration: &Registration) -> Self {
        Self {
            provider: registration.provider.name.clone(),
            tenant: registration.tenant.to_lowercase(),
            client_id: registration.client_id.clone(),
        }
    }
}

/// Record in one login's file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredConsent {
    /// Number that orders the records of a login; sealed separately.
    #[serde(skip)]
    pub(crate) number: Number,
    /// Absent in records of earlier versions, as is the tenant: then the client id decides alone.
    #[serde(default)]
    provider: Option<String>,
    #[serde(default)]
    tenant: Option<String>,
    /// Application that may redeem the refresh token.
    pub client_id: String,
    /// Refresh token (RFC 6749 §1.5).
    #[serde(serialize_with = "exposed")]
    pub refresh_token: Secret,
    /// Last access token.
    access: Option<StoredToken>,
    /// Person who consented, if the token names one.
    pub identity: Option<String>,
    /// Granted scopes, if the response named them.
    #[serde(default)]
    granted: Vec<String>,
    /// Time of the consent, in seconds since 1970.
    pub consented: u64,
    /// Reason why the consent has ended, if it has.
    pub refused: Option<ConsentRefusal>,
    /// Reason why it temporarily brings no token, if so.
    #[serde(default)]
    pub attention: Option<ConsentRefusal>,
    /// Valid consent that this one replaced, until this one has proved valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Box<StoredConsent>>,
    /// Consents to other applications, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    kept: Vec<StoredConsent>,
}

/// An access token as it is sealed, in a consent's record or by itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredToken {
    #[serde(serialize_with = "exposed")]
    token: Secret,
    /// Time of issue, in seconds since 1970.
    obtained: u64,
    /// End of validity, in seconds since 1970.
    expires: u64,
}

impl StoredToken {
    /// Creates the token that was just issued.
    pub(crate) fn new(issued: &IssuedToken) -> Self {
        let obtained = now();
        Self {
            token: issued.token.clone(),
            obtained,
            expires: obtained.saturating_add(issued.lifetime.as_secs()),
        }
    }

    /// Returns the token, if a new session may use it and it is not the one to be replaced. `least` is
    /// the provider's `token_margin`.
    pub(crate) fn usable(&self, least: Duration, replaces: Option<&Secret>) -> Option<IssuedToken> {
        // A clock that was set back does not make a token younger.
        let age = Duration::from_secs(now().checked_sub(self.obtained)?);
        let lifetime = Duration::from_secs(self.expires.saturating_sub(self.obtained));
        let left = lifetime.saturating_sub(age);
        let usable = left > margin(lifetime, least) && replaces != Some(&self.token);
        usable.then(|| IssuedToken {
            token: self.token.clone(),
            lifetime,
            age,
            stored: true,
            unstored: false,
        })
    }

    /// Time until its expiry.
    pub(crate) fn left(&self) -> Duration {
        Duration::from_secs(self.expires.saturating_sub(now()))
    }
}

/// A refusal by the identity provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentRefusal {
    /// Seconds since 1970.
    pub time: u64,
    /// Message of the identity provider.
    pub detail: String,
    /// Remedy for the refusal.
    pub remedy: Option<String>,
}

impl ConsentRefusal {
    /// Creates a refusal of now.
    pub(crate) fn now(fault: &Fault) -> Self {
        Self {
            time: now(),
            detail: fault.detail().to_owned(),
            remedy: fault.remedy().map(str::to_owned),
        }
    }
}

/// Serializes a secret. Only here secrets are written: into octets that are sealed at once.
fn exposed<S: serde::Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

impl StoredConsent {
    /// Creates the record of a new consent.
    pub(crate) fn new(
        owner: &Owner,
        refresh_token: Secret,
        identity: Option<String>,
        granted: Vec<String>,
    ) -> Self {
        Self {
            number: Number::default(),
            provider: Some(owner.provider.clone()),
            tenant: Some(owner.tenant.clone()),
            client_id: owner.client_id.clone(),
            refresh_token,
            access: None,
            identity,
            granted,
            consented: now(),
            refused: None,
            attention: None,
            before: None,
            kept: Vec::new(),
        }
    }

    /// Returns the record with its number; one without is numbered by the time of its consent, after
    /// the record `before` it.
    pub(super) fn numbered(&self, before: Option<Number>) -> Self {
        let mut record = self.clone();
        if record.number == Number::default() {
            record.number = Number::of_act(record.consented.saturating_mul(1000), before);
        }
        record
    }

    fn belongs_to(&self, owner: &Owner) -> bool {
        let is =
            |mine: &Option<String>, theirs: &str| mine.as_ref().is_none_or(|mine| mine == theirs);
        self.client_id == owner.client_id
            && is(&self.provider, &owner.provider)
            && is(&self.tenant, &owner.tenant)
    }

    /// Returns the consent to this application, if there is one; it keeps the others.
    pub fn of(mut self, owner: &Owner) -> Option<Self> {
        if !self.belongs_to(owner) {
            let index = self.kept.iter().position(|kept| kept.belongs_to(owner))?;
            let mut own = self.kept.remove(index);
            own.number = self.number;
            own.keeps(self);
            self = own;
        }
        // A record of an earlier version belongs to this application from now on.
        self.provider = Some(owner.provider.clone());
        self.tenant = Some(owner.tenant.clone());
        Some(self)
    }

    /// Takes over the consents to other applications from the stored record, for a roll-back.
    pub(crate) fn keeps(&mut self, mut before: Self) {
        let mut all = std::mem::take(&mut before.kept);
        all.insert(0, before);
        let is_other = |other: &Self| {
            other.client_id != self.client_id
                || other.provider != self.provider
                || other.tenant != self.tenant
        };
        all.retain(is_other);
        all.truncate(KEPT);
        self.kept = all;
    }

    /// Replaces a valid consent to the same application, which can be restored.
    pub(crate) fn replaces(&mut self, mut before: Self) {
        if before.refused.is_none() && before.attention.is_none() {
            before.before = None;
            before.kept.clear();
            self.before = Some(Box::new(before));
        }
    }

    /// Returns the replaced consent, with the consents to other applications.
    pub(crate) fn taken_back(mut self) -> Option<Self> {
        let mut before = *self.before.take()?;
        before.kept = self.kept;
        before.number = Number::of_act(now_ms(), Some(self.number));
        Some(before)
    }

    /// Records that this consent is valid: the replaced one is dropped.
    pub(crate) fn prove(&mut self) {
        self.before = None;
    }

    /// Describes the application: `client id 1111… of contoso.com at microsoft365`.
    pub(crate) fn application(&self) -> String {
        let mut text = format!("client id {}", self.client_id);
        if let Some(tenant) = self.tenant.as_deref().filter(|tenant| !tenant.is_empty()) {
            text.push_str(&format!(", tenant {tenant}"));
        }
        if let Some(provider) = &self.provider {
            text.push_str(&format!(", provider {provider}"));
        }
        text
    }

    /// Returns the person whose consent is valid, if known.
    pub(crate) fn valid_identity(&self) -> Option<&str> {
        let good = self.refused.is_none() && self.attention.is_none();
        self.identity.as_deref().filter(|_| good)
    }

    /// Whether the same refusal is recorded already.
    pub(crate) fn is_refused_alike(&self, fault: &Fault) -> bool {
        let known = self.attention.as_ref();
        known.is_some_and(|known| known.detail == fault.detail())
    }

    /// Returns the wanted scopes that a refresh may request: none that was not granted (RFC 6749 §6).
    /// Answers omit the provider's scope for a refresh token (`offline`), and some omit all or use other
    /// names: then all are requested.
    pub(crate) fn refreshable(&self, wanted: Vec<String>, offline: &[String]) -> Vec<String> {
        let granted = |scope: &String| self.granted.contains(scope);
        if !wanted.iter().any(granted) {
            return wanted;
        }
        wanted
            .into_iter()
            .filter(|scope| granted(scope) || offline.contains(scope))
            .collect()
    }

    /// Stores an access token.
    pub(crate) fn obtained(&mut self, grant: &IssuedToken) {
        self.access = Some(StoredToken::new(grant));
    }

    /// The last access token, if there is one.
    pub(crate) fn access(&self) -> Option<&StoredToken> {
        self.access.as_ref()
    }

    /// Whether its access token was obtained after this, in seconds since 1970.
    pub(crate) fn is_newer_than(&self, seconds: u64) -> bool {
        let access = self.access.as_ref();
        access.is_some_and(|access| access.obtained > seconds)
    }

    /// Returns the time since the refresh token was last redeemed or issued.
    pub(crate) fn unused_for(&self) -> Duration {
        let last = self.access.as_ref().map(|access| access.obtained);
        let last = last.unwrap_or_default().max(self.consented);
        Duration::from_secs(now().saturating_sub(last))
    }

    /// Returns the expiry of the access token, in seconds since 1970.
    pub fn expires(&self) -> Option<u64> {
        self.access.as_ref().map(|access| access.expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(provider: &str, tenant: &str, client_id: &str) -> Owner {
        Owner {
            provider: provider.into(),
            tenant: tenant.into(),
            client_id: client_id.into(),
        }
    }

    fn record(owner: &Owner, token: &str) -> StoredConsent {
        StoredConsent::new(owner, Secret::from(token), None, Vec::new())
    }

    /// F45: provider, tenant and client id together.
    #[test]
    fn a_consent_belongs_to_one_application_and_others_are_kept() {
        let a = owner("microsoft365", "contoso.com", "a");
        for other in [
            owner("google", "contoso.com", "a"),
            owner("microsoft365", "fabrikam.com", "a"),
            owner("microsoft365", "contoso.com", "b"),
        ] {
            assert!(record(&a, "ra").of(&other).is_none());
            let mut new = record(&other, "rb");
            new.keeps(record(&a, "ra"));
            let back = new.clone().of(&a).unwrap();
            assert_eq!(back.refresh_token.expose(), "ra");
            let forth = back.of(&other).unwrap();
            assert_eq!(forth.refresh_token.expose(), "rb");
            assert_eq!(forth.kept.len(), 1);
        }
        // Never without bound.
        let mut last = record(&a, "0");
        for number in 1..20 {
            let mut new = record(&owner("p", "t", &number.to_string()), "r");
            new.keeps(last);
            last = new;
        }
        assert_eq!(last.kept.len(), KEPT);
        assert!(last.kept.iter().all(|kept| kept.kept.is_empty()));
    }

    #[test]
    fn a_record_of_an_earlier_version_is_read() {
        let json = r#"{"client_id":"a","refresh_token":"r","access":null,"identity":null,"consented":5,"refused":null}"#;
        let old: StoredConsent = serde_json::from_str(json).unwrap();
        assert!(old.clone().of(&owner("p", "t", "b")).is_none());
        let now = old.of(&owner("p", "t", "a")).unwrap();
        assert!(now.of(&owner("p", "other", "a")).is_none());
    }

    /// d46: a stored token is good for as long as one in memory.
    #[test]
    fn one_margin_for_memory_and_disk() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let mut record = record(&owner("p", "t", "a"), "r");
        let age = |record: &mut StoredConsent, age: u64| {
            if let Some(access) = &mut record.access {
                let lifetime = access.expires - access.obtained;
                access.obtained = now() - age;
                access.expires = access.obtained + lifetime;
            }
        };
        for (lifetime, usable, least) in [
            (599, 440, minutes(5)),
            (3600, 3290, minutes(5)),
            (3600, 2390, minutes(20)),
            (600, 290, minutes(5)),
        ] {
            let grant = IssuedToken::new(Secret::from("t"), Duration::from_secs(lifetime));
            record.obtained(&grant);
            age(&mut record, usable);
            let access = record.access().unwrap();
            assert!(access.usable(least, None).is_some(), "{lifetime} {usable}");
            assert!(access.usable(least, Some(&grant.token)).is_none());
            age(&mut record, usable + 20);
            let access = record.access().unwrap();
            assert!(access.usable(least, None).is_none(), "{lifetime} {usable}");
        }
    }

    #[test]
    fn a_refresh_asks_for_nothing_that_was_not_granted() {
        let record = |granted: &[&str]| {
            let granted = granted.iter().map(|scope| (*scope).to_owned()).collect();
            StoredConsent::new(&owner("p", "t", "c"), Secret::from("r"), None, granted)
        };
        let list = |scopes: &[&str]| -> Vec<String> {
            scopes.iter().map(|scope| (*scope).to_owned()).collect()
        };
        let wanted = || list(&["imap", "smtp", "offline_access"]);
        let offline = list(&["offline_access"]);
        assert_eq!(record(&["imap"]).refreshable(wanted(), &[]), ["imap"]);
        // Entra's answer never names it, and the refresh needs it.
        assert_eq!(
            record(&["imap", "smtp"]).refreshable(wanted(), &offline),
            wanted()
        );
        assert_eq!(record(&[]).refreshable(wanted(), &[]), wanted());
        assert_eq!(record(&["IMAP"]).refreshable(wanted(), &[]), wanted());
    }
}
