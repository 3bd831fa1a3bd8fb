//! Reads `providers`: the presets and the file's additions.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use serde::Deserialize;

use super::field::{Context, Field};
use super::key::{Key, Value};
use super::kind::Kind;
use super::known::Known;
use super::provider::{EndpointKeys, PresetCapabilities, Provider, ProviderKeys, Scopes};
use super::sources::{Secrets, Sources};
use super::tree;
use super::value::{EndpointUrl, Named};
use crate::wire::Protocol;

/// Presets. What stands under `provider` there is written like `providers` in the file.
const PRESETS: &str = include_str!("presets.yaml");

/// Habits of a mail service, which no operator needs to change.
#[derive(Debug, Default, Deserialize)]
struct Habits {
    #[serde(default)]
    scopes: Scopes,
    #[serde(default)]
    consent_parameters: Vec<(String, String)>,
    capabilities: PresetCapabilities,
}

/// A preset of this build.
struct Preset {
    /// Section under `provider`.
    field: Field,
    habits: Habits,
}

/// Section of a provider, which is read after the preset's keys were added.
#[derive(Debug, Clone)]
pub(super) struct ProviderSection(Field);

impl Value for ProviderSection {
    fn read(field: &Field) -> Option<Self> {
        Some(Self(field.clone()))
    }

    fn kind() -> Kind {
        ProviderKeys::kind()
    }
}

pub(super) fn providers(keys: Key<Named<ProviderSection>>) -> Known<Provider> {
    let mut presets = read_presets();
    let mut known = Known::new("provider", "describe yours under providers");
    for (name, _, section) in keys.required().map_or_else(Vec::new, |Named(all)| all) {
        let read = |ProviderSection(field)| match presets.remove(&name) {
            Some(preset) => provider(&name, &field.or_from(&preset.field), preset.habits),
            None => provider(&name, &field, Habits::unknown()),
        };
        let provider = section.and_then(read);
        known.insert(name, provider);
    }
    for (name, preset) in presets {
        let provider = provider(&name, &preset.field, preset.habits);
        known.insert(name, provider);
    }
    known
}

/// Returns the built-in providers, by name.
pub fn presets() -> BTreeMap<String, Arc<Provider>> {
    providers(Key::Absent).valid
}

fn read_presets() -> BTreeMap<String, Preset> {
    let sources = Sources::new(Path::new(""), Secrets::Skip);
    let root = tree::compose(PRESETS).ok().flatten();
    let root = root.map(|root| Field::root(root, Rc::new(Context::new(sources))));
    let habits: BTreeMap<String, Habits> = serde_yaml::from_str(PRESETS).unwrap_or_default();
    let preset = |(name, habits): (String, Habits)| {
        let field = root.as_ref()?.at(&name).at("provider");
        Some((name, Preset { field, habits }))
    };
    habits.into_iter().filter_map(preset).collect()
}

impl Habits {
    /// Habits of a provider without preset: only capabilities that every server has.
    fn unknown() -> Self {
        let lines = |lines: [&str; 2]| lines.map(str::to_owned).to_vec();
        Self {
            capabilities: PresetCapabilities {
                imap: lines(["IMAP4rev1", "SASL-IR"]),
                pop3: lines(["TOP", "UIDL"]),
                smtp: Vec::new(),
            },
            ..Self::default()
        }
    }
}

fn provider(name: &str, field: &Field, habits: Habits) -> Option<Provider> {
    let keys = ProviderKeys::read(field)?;
    if keys.token_url.is_absent() {
        field.missing(
            "token_url",
            "where tokens are asked for, as in https://login.example.com/token",
        );
    } else if keys.imap.is_absent() && keys.pop3.is_absent() && keys.smtp.is_absent() {
        return field.reject("must have at least one of imap, pop3 and smtp");
    }
    let endpoint = |protocol: Protocol, key: Key<EndpointKeys>| {
        key.convert(|keys| keys.build(&field.at(protocol.name()), protocol))
    };
    let imap = endpoint(Protocol::Imap, keys.imap);
    let pop3 = endpoint(Protocol::Pop3, keys.pop3);
    let smtp = endpoint(Protocol::Smtp, keys.smtp);
    let url = |key: Key<EndpointUrl>| key.convert(|EndpointUrl(url)| Some(url));
    Some(Provider {
        name: name.to_owned(),
        imap: imap?,
        pop3: pop3?,
        smtp: smtp?,
        authorize_url: url(keys.authorize_url)?,
        device_url: url(keys.device_url)?,
        token_url: url(keys.token_url)??,
        mechanism: keys.mechanism,
        ca: keys.ca.required()?,
        egress: keys.egress.optional()?,
        ip: keys.ip,
        smtp_limits: keys.smtp_limits.optional()?,
        token_margin: keys.token_margin,
        refresh_tokens: keys.refresh_tokens,
        scopes: habits.scopes,
        consent_parameters: habits.consent_parameters,
        capabilities: habits.capabilities,
    })
}
