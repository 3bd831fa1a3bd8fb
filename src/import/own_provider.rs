//! Providers for mail services without a preset.

use serde_json::{Map, Value};
use url::Url;

use super::draft::Draft;
use super::section::Section;
use super::upstream::{Upstream, preset_of_host};
use crate::config::is_loopback;

/// Host that stands in a provider for the one that the operator still has to write.
const NO_HOST: &str = "smtp.example.com";

/// URL that stands in a provider for the one where people consent.
const NO_CONSENT_URL: &str = "https://login.example.com/authorize";

/// Finds the provider that has the account's endpoints, or creates one from the servers. Accounts of
/// one host whose endpoints differ get a provider each.
pub(super) fn find(draft: &mut Draft, name: &str, host: &str, keys: &Section) -> String {
    let base = host.replace(
        |c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '-',
        "-",
    );
    let urls = urls(draft, name, keys);
    let names = std::iter::once(base.clone()).chain((2..).map(|number| format!("{base}-{number}")));
    for provider in names {
        let Some(known) = draft.providers.get_mut(&provider) else {
            let mut section = endpoints(draft, name, &provider);
            section.extend(urls);
            draft.providers.insert(provider.clone(), section.into());
            return provider;
        };
        let Some(known) = known.as_object_mut() else {
            continue;
        };
        let is_same = |(key, url): (&String, &Value)| known.get(key).is_none_or(|own| own == url);
        if urls.iter().all(is_same) {
            known.extend(urls);
            return provider;
        }
    }
    base
}

/// Endpoints of the identity provider. Only https is taken off loopback.
fn urls(draft: &mut Draft, name: &str, keys: &Section) -> Map<String, Value> {
    let flow = keys.get("oauth2_flow");
    let consent = match flow {
        Some("device") => "device_url",
        _ => "authorize_url",
    };
    let mut urls = Map::new();
    for (key, from) in [("token_url", "token_url"), (consent, "permission_url")] {
        let Some(url) = keys.get(from) else { continue };
        let is_loopback = Url::parse(url).is_ok_and(|url| is_loopback(&url));
        let url = match url.strip_prefix("http://").filter(|_| !is_loopback) {
            Some(rest) => {
                draft.note(format!(
                    "[{name}] {from} {url}: https is written in place of http, which is for loopback addresses only"
                ));
                format!("https://{rest}")
            }
            None => url.to_owned(),
        };
        urls.insert(key.to_owned(), url.into());
    }
    if matches!(flow, Some("device" | "authorization_code")) && !urls.contains_key(consent) {
        draft.note(format!(
            "[{name}] has no permission_url: write the provider's {consent} in place of {NO_CONSENT_URL}"
        ));
        urls.insert(consent.to_owned(), NO_CONSENT_URL.into());
    }
    urls
}

/// Endpoints of the mail service: for each protocol the first server that leads to no known service,
/// else the first server.
fn endpoints(draft: &mut Draft, name: &str, provider: &str) -> Map<String, Value> {
    let is_foreign = |upstream: &&Upstream| preset_of_host(&upstream.host).is_none();
    let mut section = Map::new();
    for (protocol, upstreams) in &draft.upstreams {
        let chosen = upstreams.iter().find(is_foreign).or(upstreams.first());
        section.extend(chosen.map(|upstream| ((*protocol).to_owned(), upstream.endpoint())));
    }
    if section.is_empty() {
        draft.note(format!(
            "[{name}] no server leads to its mail service: write its host in place of {NO_HOST} into the provider {provider}"
        ));
        section.insert("smtp".into(), serde_json::json!({"host": NO_HOST}));
    } else {
        draft.note(format!(
            "[{name}] the provider {provider} was put together from the servers of the file: check its hosts"
        ));
    }
    section
}
