//! `registrations`: OAuth clients.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use time::format_description::well_known::Iso8601;
use time::{Date, OffsetDateTime};

use super::super::field::{Field, Section, either, is_name};
use super::super::{Grant, Provider, Registration};
use super::Reader;
use super::providers::{Providers, url};

/// So long before its secret expires an operator is warned.
const WARN_DAYS: i64 = 14;

/// What interface and identity providers know, and this version does not.
const OTHER_GRANTS: [&str; 6] = [
    "authorization_code",
    "device_code",
    "password",
    "service_account",
    "managed_identity",
    "command",
];

/// The registrations that are good, and the names of those that are not.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    pub(super) known: BTreeMap<String, Arc<Registration>>,
    broken: BTreeSet<String>,
}

impl Registrations {
    /// The registration that a field names.
    pub(super) fn named(&self, field: &Field<'_>) -> Option<Arc<Registration>> {
        let name = field.word()?;
        if let Some(registration) = self.known.get(name) {
            return Some(registration.clone());
        }
        if !self.broken.contains(name) {
            let names: Vec<_> = self.known.keys().map(String::as_str).collect();
            match names.is_empty() {
                true => {
                    field.problem("there is no such registration; describe it under registrations")
                }
                false => field.problem(format_args!(
                    "there is no such registration; write {}, or describe it under registrations",
                    either(&names)
                )),
            }
        }
        None
    }
}

impl Reader<'_> {
    pub(super) fn registrations(
        &self,
        field: Option<Field<'_>>,
        providers: &Providers,
    ) -> Registrations {
        let mut registrations = Registrations::default();
        let Some(section) = field.and_then(|field| field.section()) else {
            return registrations;
        };
        for (name, field) in section.named() {
            match self.registration(name, &field, providers) {
                Some(registration) => {
                    registrations
                        .known
                        .insert(name.to_owned(), Arc::new(registration));
                }
                None => {
                    registrations.broken.insert(name.to_owned());
                }
            }
        }
        registrations
    }

    fn registration(
        &self,
        name: &str,
        field: &Field<'_>,
        providers: &Providers,
    ) -> Option<Registration> {
        if !is_name(name) {
            return field
                .wrong("a registration's name has letters, digits, \".\", \"_\" and \"-\"");
        }
        let mut section = field.section()?;
        let provider = section
            .require(
                "provider",
                "microsoft365, or the name of one of your providers",
            )
            .and_then(|field| providers.named(&field));
        let client_id = section
            .require("client_id", "the application (client) id")
            .and_then(|field| field.word().map(str::to_owned));
        let tenant = section.take("tenant");
        let scope = section.take("scope").map(|field| scopes(&field));
        let grant = self.grant(&mut section);
        self.expiry(section.take("client_secret_expires"));
        section.not_yet("certificate");
        section.not_yet("federated");
        let place = field.clone();
        section.finish();
        let provider = provider?;
        let token_url = token_url(&provider, tenant.as_ref(), &place);
        let scope = match scope {
            Some(scope) => scope?,
            None if provider.app_scope.is_empty() => {
                return place.wrong(
                    "scope is missing; write what the identity provider calls access to the mail service",
                );
            }
            None => provider.app_scope.clone(),
        };
        Some(Registration {
            name: name.to_owned(),
            token_url: token_url?,
            client_id: client_id?,
            grant: grant?,
            scope,
            provider,
        })
    }

    fn grant(&self, section: &mut Section<'_>) -> Option<Grant> {
        let grant = section.require("grant", "client_credentials");
        let secret = section.take("client_secret");
        let grant = grant?;
        match grant.word()? {
            "client_credentials" => {}
            other if OTHER_GRANTS.contains(&other) => {
                return grant.wrong(format_args!(
                    "{other} is not supported by this version of authrelay; write client_credentials"
                ));
            }
            _ => return grant.wrong("is no known grant; write client_credentials"),
        }
        let Some(secret) = secret else {
            return section
                .require(
                    "client_secret",
                    "the secret's value, or {env: NAME} or {file: PATH}",
                )
                .and(None);
        };
        let client_secret = self.sources.secret(&secret)?;
        Some(Grant::ClientCredentials { client_secret })
    }

    /// Warns while there is time to make a new secret.
    fn expiry(&self, field: Option<Field<'_>>) {
        let Some(field) = field else { return };
        let Some(text) = field.word() else { return };
        let Ok(expires) = Date::parse(text, &Iso8601::DATE) else {
            field.problem("must be a date, as in 2027-05-01");
            return;
        };
        let days = (expires - OffsetDateTime::now_utc().date()).whole_days();
        match days {
            ..=0 => self.warn(&field, "the client secret has expired; make a new one"),
            1..=WARN_DAYS => self.warn(
                &field,
                format_args!("the client secret expires in {days} days; make a new one"),
            ),
            _ => {}
        }
    }
}

/// The provider's token endpoint for this tenant.
fn token_url(
    provider: &Provider,
    tenant: Option<&Field<'_>>,
    place: &Field<'_>,
) -> Option<url::Url> {
    let wanted = provider.token_url.contains("{tenant}");
    let tenant = match tenant {
        Some(field) => {
            let tenant = field.word()?;
            if !is_name(tenant) {
                return field.wrong("must be the tenant's domain or id");
            }
            if wanted && ["common", "organizations", "consumers"].contains(&tenant) {
                return field.wrong(
                    "client_credentials wants the tenant's own domain or id, as in contoso.onmicrosoft.com",
                );
            }
            tenant
        }
        None if wanted => {
            return place.wrong(
                "tenant is missing; write the tenant's domain or id, as in contoso.onmicrosoft.com",
            );
        }
        None => "",
    };
    match url(&provider.token_url, tenant) {
        Ok(url) => Some(url),
        Err(why) => place.wrong(format_args!("the provider's token_url {why}")),
    }
}

/// RFC 6749 §3.3: `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )`.
fn scopes(field: &Field<'_>) -> Option<Vec<String>> {
    let token = |field: Field<'_>| {
        let text = field.word()?;
        let good = text
            .bytes()
            .all(|octet| octet.is_ascii_graphic() && octet != b'"' && octet != b'\\');
        match good {
            true => Some(text.to_owned()),
            false => field.wrong("must be one scope; write several as a list"),
        }
    };
    let scopes: Option<Vec<_>> = field.list().into_iter().map(token).collect();
    match scopes {
        Some(scopes) if scopes.is_empty() => field.wrong("must name at least one scope"),
        scopes => scopes,
    }
}
