//! The `proxy.yaml` that an import builds.

use super::section::{Section, section};
use crate::secret::Secret;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Result of an import.
#[derive(Debug)]
pub struct Imported {
    /// Text of `proxy.yaml`, with the notes as comments at the top.
    pub yaml: String,
    /// Notes about settings without counterpart, and about what is left to do.
    pub notes: Vec<String>,
    /// Refresh tokens that can be moved.
    pub consents: Vec<MovedConsent>,
}

/// A consent that another program stores in clear.
#[derive(Debug)]
pub struct MovedConsent {
    /// Login of the account.
    pub login: String,
    /// Refresh token of the consent (RFC 6749 §1.5).
    pub refresh_token: Secret,
}

/// Name and text of a token file that accompanies the imported file.
pub type TokenFile = (String, String);

/// Configuration under construction.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Description of the imported file.
    source: &'static str,
    pub(super) listeners: Vec<Value>,
    /// Upstreams of the servers by protocol, for accounts without a preset.
    pub(super) upstreams: BTreeMap<&'static str, Vec<super::upstream::Upstream>>,
    pub(super) providers: Map<String, Value>,
    /// Endpoint of each provider and protocol, once a server has determined it.
    settled: BTreeMap<(String, String), String>,
    pub(super) registrations: Map<String, Value>,
    pub(super) accounts: Vec<Value>,
    notes: Vec<String>,
    /// Whether a user has to give consent.
    pub(super) consents: bool,
    pub(super) moved: Vec<MovedConsent>,
    /// Whether an account has its own password.
    pub(super) passwords: bool,
}

impl Draft {
    pub(super) fn from(source: &'static str) -> Self {
        Self {
            source,
            ..Self::default()
        }
    }

    pub(super) fn note(&mut self, note: impl AsRef<str>) {
        let note = one_line(note.as_ref());
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Whether there is an account with this login.
    pub(super) fn has_account(&self, login: &str) -> bool {
        let has = |account: &Value| account.get("login").and_then(Value::as_str) == Some(login);
        self.accounts.iter().any(has)
    }

    pub(super) fn global(&mut self, global: &Section) {
        for key in global.keys() {
            match key {
                "allow_catch_all_accounts" => {}
                "use_login_password_as_client_credentials_secret" => {}
                "delete_account_token_on_password_error" => self.note(
                    "delete_account_token_on_password_error has no counterpart: a wrong password never deletes a token here",
                ),
                "encrypt_client_secret_on_first_use" => self.note(
                    "encrypt_client_secret_on_first_use has no counterpart: keep client secrets out of the file with {file: PATH} or {env: NAME}",
                ),
                other => self.note(format!("[emailproxy] {other} has no counterpart")),
            }
        }
    }

    pub(super) fn finish(mut self) -> Result<Imported, String> {
        if self.listeners.is_empty() && self.accounts.is_empty() {
            return Err(format!(
                "this is not a {}: it has neither servers nor accounts",
                self.source
                    .split_once(' ')
                    .map_or(self.source, |(_, name)| name)
            ));
        }
        if self.listeners.is_empty() {
            self.note("there are no servers: the listeners are examples, so change them to the ports that your applications use");
            self.listeners = self.example_listeners();
        }
        if self.accounts.is_empty() {
            self.note("there are no accounts: add registrations and accounts");
        }
        self.endpoints();
        self.several_providers();
        self.next_steps();
        let root = section(json!({
            "admin": self.consents.then(|| json!({"bind": "127.0.0.1:8025"})),
            "listeners": self.listeners,
            "providers": (!self.providers.is_empty()).then_some(self.providers),
            "registrations": self.registrations,
            "accounts": self.accounts,
        }));
        let body = serde_yaml::to_string(&root).map_err(|error| error.to_string())?;
        let mut yaml = format!("# From {}. What is left to do:\n#\n", self.source);
        for note in &self.notes {
            yaml.push_str(&format!("# - {note}\n"));
        }
        yaml.push('\n');
        yaml.push_str(&body);
        Ok(Imported {
            yaml,
            notes: self.notes,
            consents: self.moved,
        })
    }

    /// Listeners for a file without servers: one for each protocol of its mail services.
    fn example_listeners(&self) -> Vec<Value> {
        let presets = crate::config::presets();
        let providers = self.used_providers();
        let serves = |protocol: &str| {
            providers.iter().any(|name| {
                let preset = presets.get(name);
                preset.is_some_and(|it| super::upstream::endpoint(it, protocol).is_some())
                    || self.provider_key(name, protocol).is_some()
            })
        };
        [("imap", 1143), ("pop3", 1110), ("smtp", 1587)]
            .into_iter()
            .filter(|(protocol, _)| serves(protocol))
            .map(|(protocol, port)| json!({"protocol": protocol, "bind": format!("127.0.0.1:{port}")}))
            .collect()
    }

    /// Adds notes about the next steps, in order.
    fn next_steps(&mut self) {
        if self.passwords {
            self.note(
                "next: local passwords: email-oauth2-proxy keeps none, and neither do the others. Write each application's password into the file that its account names, mode 0600, or put a hash from `authrelay hash-password` in its place",
            );
        }
        self.note(
            "next: save this as proxy.yaml, edit what the notes name, and run `authrelay check`",
        );
        if self.consents {
            if self.moved.is_empty() {
                self.note(
                    "stored tokens cannot be moved: they are sealed with the client's password",
                );
            }
            self.note(
                "next: run `authrelay authorize LOGIN` once for each account whose grant is authorization_code or device_code and whose refresh token was not moved",
            );
        }
        self.note("next: `authrelay doctor LOGIN` for each account, then `authrelay run` in place of the other proxy: the applications keep their settings");
    }

    /// Sets the hosts and ports of providers from the servers, where they differ from the preset.
    fn endpoints(&mut self) {
        let presets = crate::config::presets();
        let mut used = self.used_providers();
        used.sort();
        let owned = !self.providers.is_empty();
        let upstreams = self.upstreams.clone();
        for (protocol, upstreams) in &upstreams {
            for upstream in upstreams {
                let preset = super::upstream::preset_of_host(&upstream.host);
                let provider = match preset {
                    Some(preset) if used.iter().any(|name| name == preset) => preset.to_owned(),
                    None if owned => continue,
                    _ => match used.iter().find(|name| presets.contains_key(*name)) {
                        Some(name) => name.clone(),
                        None => continue,
                    },
                };
                let known = presets
                    .get(&provider)
                    .and_then(|preset| super::upstream::endpoint(preset, protocol));
                self.lead(
                    &provider,
                    protocol,
                    upstream,
                    known,
                    preset.is_some_and(|preset| preset != provider),
                );
            }
        }
    }

    /// Applies one server's endpoint to its provider, or notes a conflict.
    fn lead(
        &mut self,
        provider: &str,
        protocol: &str,
        upstream: &super::upstream::Upstream,
        preset: Option<super::upstream::Upstream>,
        foreign: bool,
    ) {
        let there = upstream.described();
        let section = &upstream.section;
        let key = (provider.to_owned(), protocol.to_owned());
        let is_same = |preset: &super::upstream::Upstream| preset.is_same(upstream);
        if preset.as_ref().is_some_and(is_same) && self.provider_key(provider, protocol).is_none() {
            self.settled.insert(key, there);
            return;
        }
        let here = self.settled.get(&key).cloned();
        match here {
            Some(here) if here == there => {}
            Some(here) => self.note(format!(
                "[{section}] leads to {there} there; here every {protocol} session of the provider {provider} leads to {here}. Where both are needed, give the other one a provider, a registration and accounts of its own"
            )),
            None if foreign => {
                let here = preset.map(|preset| preset.described()).unwrap_or_default();
                self.note(format!(
                    "[{section}] leads to {there} there, and to the provider {provider}'s {here} here, by which its accounts are served; override providers.{provider}.{protocol} where that is not the same service"
                ));
            }
            None => {
                self.note(format!(
                    "[{section}] leads to {there}, which is not the preset's: providers.{provider}.{protocol} is overridden"
                ));
                self.override_provider(provider, json!({protocol: upstream.endpoint()}));
                self.settled.insert(key, there);
            }
        }
    }

    /// Sets keys of a provider, without those whose value is null.
    pub(super) fn override_provider(&mut self, provider: &str, keys: Value) {
        let keys = section(keys);
        if keys.is_empty() {
            return;
        }
        let provider = self.providers.entry(provider).or_insert_with(|| json!({}));
        if let Some(provider) = provider.as_object_mut() {
            provider.extend(keys);
        }
    }

    /// Providers of the registrations, in their order.
    fn used_providers(&self) -> Vec<String> {
        let mut providers: Vec<String> = Vec::new();
        for registration in self.registrations.values() {
            if let Some(name) = registration.get("provider").and_then(Value::as_str)
                && !providers.iter().any(|other| other == name)
            {
                providers.push(name.to_owned());
            }
        }
        providers
    }

    fn provider_key(&self, provider: &str, protocol: &str) -> Option<&Value> {
        self.providers.get(provider)?.get(protocol)
    }

    /// Chooses the provider of each listener if accounts of several providers exist.
    fn several_providers(&mut self) {
        let providers = self.used_providers();
        let first = providers.first().filter(|_| providers.len() > 1).cloned();
        let several = providers.join(", ");
        for listener in &mut self.listeners {
            if let Some(listener) = listener.as_object_mut() {
                let host = listener.remove("upstream");
                let Some(first) = &first else { continue };
                let host = host.as_ref().and_then(Value::as_str);
                let guess = host
                    .and_then(super::upstream::preset_of_host)
                    .filter(|guess| providers.iter().any(|other| other == guess));
                let provider = guess.unwrap_or(first.as_str());
                listener.insert("provider".into(), provider.into());
            }
        }
        if first.is_some() {
            self.note(format!(
                "one listener serves accounts of several providers here ({several}); its provider only says which capabilities it shows before login"
            ));
        }
    }
}

/// Replaces control characters: names and keys come from the file and must not begin a line of
/// their own in a comment.
pub(super) fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}
