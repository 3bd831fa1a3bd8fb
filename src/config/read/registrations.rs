//! `registrations`: OAuth clients.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use time::format_description::well_known::Iso8601;
use time::{Date, OffsetDateTime};

use super::super::field::{Field, either, is_name};
use super::super::{ClientCredential, Grant, Provider, Registration};
use super::Reader;
use super::providers::{Providers, url};

/// So long before its secret expires an operator is warned.
const WARN_DAYS: i64 = 14;

/// Where Entra's endpoints are, unless the environment says otherwise.
const ENTRA: &str = "https://login.microsoftonline.com";

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
        let tenant = section.take("tenant");
        let scope = section.take("scope").map(|field| scopes(&field));
        let expires = self.expiry(section.take("client_secret_expires"));
        let grant = self.grant(&mut section);
        let given = section.take("client_id");
        let client_id = match (&grant, given) {
            // The managed identity's was taken by its grant; the others have none.
            (Some(Grant::ManagedIdentity { .. }), _) => Some(String::new()),
            (Some(Grant::ServiceAccount(_) | Grant::Command { .. }), Some(field)) => {
                field.wrong("has no use with this grant; remove it")
            }
            (Some(Grant::ServiceAccount(_) | Grant::Command { .. }), None) => Some(String::new()),
            (_, Some(field)) => field.word().map(str::to_owned),
            // What is wrong with the grant was said.
            (None, None) => None,
            (Some(_), None) => {
                let federated = is_federated(grant.as_ref());
                match self
                    .workload_identity("AZURE_CLIENT_ID")
                    .filter(|_| federated)
                {
                    Some(id) => Some(id),
                    None => section
                        .require("client_id", "the application (client) id")
                        .and(None),
                }
            }
        };
        let place = field.clone();
        section.finish();
        let (provider, grant) = (provider?, grant?);
        let tenant = self.tenant_of(&provider, &grant, tenant.as_ref(), &place)?;
        let url = |template: &str| match url(template, &tenant) {
            Ok(url) => Some(url),
            Err(why) => place.wrong(format_args!("the provider's URL {why}")),
        };
        let token_url = match &grant {
            // Of the Kubernetes webhook: the cloud that the workload is in.
            grant if is_federated(Some(grant)) && provider.token_url.starts_with(ENTRA) => {
                let host = self.workload_identity("AZURE_AUTHORITY_HOST");
                let host = host.filter(|host| host.starts_with("https://"));
                let host = host.as_deref().unwrap_or(ENTRA).trim_end_matches('/');
                url(&provider.token_url.replacen(ENTRA, host, 1))
            }
            _ => url(&provider.token_url),
        };
        let consent_url = |template: &Option<String>, key: &str| match template {
            Some(template) => url(template).map(Some),
            None => place.wrong(format_args!(
                "the provider {} has no {key}, which the grant {} needs",
                provider.name,
                grant.name()
            )),
        };
        let authorize_url = match &grant {
            Grant::AuthorizationCode(_) => consent_url(&provider.authorize_url, "authorize_url"),
            _ => Some(None),
        };
        let device_url = match &grant {
            Grant::DeviceCode(_) => consent_url(&provider.device_url, "device_url"),
            _ => Some(None),
        };
        let scope = match scope {
            Some(scope) => Some(scope?),
            None => None,
        };
        if scope.is_none() && !has_default_scope(&provider, &grant) {
            return place.wrong(format_args!(
                "scope is missing, and the provider {} has none for the grant {}; write what the identity provider calls access to the mail service",
                provider.name,
                grant.name()
            ));
        }
        Some(Registration {
            name: name.to_owned(),
            tenant,
            token_url: token_url?,
            authorize_url: authorize_url?,
            device_url: device_url?,
            client_id: client_id?,
            grant,
            scope,
            client_secret_expires: expires,
            provider,
        })
    }

    /// What `{tenant}` stands for; empty where the provider's URLs have none.
    fn tenant_of(
        &self,
        provider: &Provider,
        grant: &Grant,
        field: Option<&Field<'_>>,
        place: &Field<'_>,
    ) -> Option<String> {
        let own = !matches!(grant, Grant::AuthorizationCode(_) | Grant::DeviceCode(_));
        let Some(field) = field else {
            let needed = provider.token_url.contains("{tenant}")
                && !matches!(grant, Grant::ManagedIdentity { .. } | Grant::Command { .. });
            return match self.workload_identity("AZURE_TENANT_ID") {
                _ if !needed => Some(String::new()),
                Some(tenant) if is_federated(Some(grant)) => Some(tenant),
                _ => place.wrong(
                    "tenant is missing; write the tenant's domain or id, as in contoso.onmicrosoft.com",
                ),
            };
        };
        let tenant = field.word()?;
        if !is_name(tenant) {
            return field.wrong("must be the tenant's domain or id");
        }
        // AADSTS50194 and 9001023; `organizations` does for passwords.
        let password = matches!(grant, Grant::Password(_));
        let shared =
            ["common", "consumers"].contains(&tenant) || (tenant == "organizations" && !password);
        if own && shared && provider.token_url.contains("{tenant}") {
            return field.wrong(format_args!(
                "the grant {} wants the tenant's own domain or id, as in contoso.onmicrosoft.com",
                grant.name()
            ));
        }
        Some(tenant.to_owned())
    }

    /// Warns while there is time to make a new secret.
    fn expiry(&self, field: Option<Field<'_>>) -> Option<i64> {
        let field = field?;
        let Ok(expires) = Date::parse(field.word()?, &Iso8601::DATE) else {
            return field.wrong("must be a date, as in 2027-05-01");
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
        Some(expires.midnight().assume_utc().unix_timestamp())
    }
}

fn is_federated(grant: Option<&Grant>) -> bool {
    matches!(
        grant.and_then(Grant::credential),
        Some(ClientCredential::Federated(_))
    )
}

/// Whether something can be asked for without the file saying what.
fn has_default_scope(provider: &Provider, grant: &Grant) -> bool {
    let scopes = &provider.scopes;
    match grant {
        Grant::ClientCredentials(_) | Grant::ManagedIdentity { .. } => {
            !scopes.application.is_empty()
        }
        // It knows by itself.
        Grant::Command { .. } => true,
        Grant::ServiceAccount(_)
        | Grant::AuthorizationCode(_)
        | Grant::DeviceCode(_)
        | Grant::Password(_) => ![&scopes.imap, &scopes.pop3, &scopes.smtp]
            .iter()
            .all(|scope| scope.is_empty()),
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
