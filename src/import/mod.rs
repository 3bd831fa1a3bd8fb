//! `import`: from an `emailproxy.config` (email-oauth2-proxy's INI file) to a `proxy.yaml`.
//!
//! What has no counterpart is named, never dropped in silence: local passwords (that proxy keeps
//! none; its first client chooses) and stored tokens (sealed with that password) among them.

mod account;
mod server;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use configparser::ini::{Ini, IniDefault};
use serde_json::{Map, Value, json};

/// The result: a configuration, and what it lacks.
#[derive(Debug)]
pub struct Imported {
    /// `proxy.yaml`, the notes as comments at its head.
    pub yaml: String,
    /// What has no counterpart, and what is left to do.
    pub notes: Vec<String>,
}

/// A section of the file: its keys in lower case.
type Section = BTreeMap<String, String>;

/// Sections that explain and set nothing.
const PROSE: [&str; 4] = [
    "email oauth 2.0 proxy configuration file",
    "server setup",
    "account setup",
    "advanced proxy configuration",
];

/// Keys that explain.
const DOCUMENTATION: [&str; 3] = ["documentation", "format", "warning"];

/// Reads the text of an `emailproxy.config`.
///
/// # Errors
///
/// In words, where it is no such file.
pub fn import(text: &str) -> Result<Imported, String> {
    let mut draft = Draft::default();
    let sections = sections(text)?;
    let global = sections.get("emailproxy").cloned().unwrap_or_default();
    draft.global(&global);
    for (name, section) in &sections {
        if server::is_server(name) {
            server::add(&mut draft, name, section);
        }
    }
    for (name, section) in &sections {
        if name.contains('@') {
            account::add(&mut draft, name, section, &global);
        } else if !server::is_server(name)
            && name != "emailproxy"
            && !PROSE.iter().any(|prose| name.starts_with(prose))
        {
            draft.note(format!(
                "[{name}] is neither a server nor an account; it is left out"
            ));
        }
    }
    draft.finish()
}

/// As Python's configparser reads it: `#` and `;` begin comments at the head of a line only, and
/// deeper lines go on with the value before them.
fn sections(text: &str) -> Result<BTreeMap<String, Section>, String> {
    let mut defaults = IniDefault::default();
    defaults.multiline = true;
    defaults.comment_symbols = vec!['#', ';'];
    defaults.inline_comment_symbols = Some(Vec::new());
    let mut ini = Ini::new_from_defaults(defaults);
    let read = ini
        .read(text.to_owned())
        .map_err(|error| one_line(&format!("this is no emailproxy.config: {error}")))?;
    let section = |keys: std::collections::HashMap<String, Option<String>>| {
        keys.into_iter()
            .filter(|(key, _)| !DOCUMENTATION.contains(&key.as_str()))
            .map(|(key, value)| (key, value.unwrap_or_default().trim().to_owned()))
            .collect()
    };
    Ok(read
        .into_iter()
        .map(|(name, keys)| (name, section(keys)))
        .collect())
}

/// The configuration as it grows.
#[derive(Debug, Default)]
struct Draft {
    listeners: Vec<Value>,
    /// Upstreams of the servers, by protocol, for accounts whose service is no preset.
    upstreams: BTreeMap<&'static str, Vec<server::Upstream>>,
    providers: Map<String, Value>,
    registrations: Map<String, Value>,
    accounts: Vec<Value>,
    notes: Vec<String>,
    consents: bool,
}

impl Draft {
    fn note(&mut self, note: String) {
        let note = one_line(&note);
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn global(&mut self, global: &Section) {
        for (key, value) in global {
            match key.as_str() {
                "allow_catch_all_accounts" => {}
                "use_login_password_as_client_credentials_secret" if !is_true(value) => {}
                "use_login_password_as_client_credentials_secret" => self.note(
                    "use_login_password_as_client_credentials_secret has no counterpart: write the client secret into the registration, and passwords of their own for the applications".into(),
                ),
                "delete_account_token_on_password_error" => self.note(
                    "delete_account_token_on_password_error has no counterpart: a wrong password never deletes a token here".into(),
                ),
                "encrypt_client_secret_on_first_use" => self.note(
                    "encrypt_client_secret_on_first_use has no counterpart: keep client secrets out of the file with {file: PATH} or {env: NAME}".into(),
                ),
                other => self.note(format!("[emailproxy] {other} has no counterpart")),
            }
        }
    }

    fn finish(mut self) -> Result<Imported, String> {
        if self.listeners.is_empty() && self.accounts.is_empty() {
            return Err("this is no emailproxy.config: it has neither servers nor accounts".into());
        }
        if self.listeners.is_empty() {
            self.note("there are no servers: add listeners".into());
        }
        if self.accounts.is_empty() {
            self.note("there are no accounts: add registrations and accounts".into());
        }
        if !self.accounts.is_empty() {
            self.note(
                "local passwords: email-oauth2-proxy keeps none. Write each application's password into the file that its account names, mode 0600, or put a hash from `authrelay hash-password` in its place".into(),
            );
        }
        if self.consents {
            self.note(
                "stored tokens cannot be moved: they are sealed with the client's password. Run `authrelay authorize LOGIN` once for each account whose grant is authorization_code or device_code".into(),
            );
        }
        self.several_providers();
        let mut root = Map::new();
        if self.consents {
            root.insert("admin".into(), json!({"bind": "127.0.0.1:8025"}));
        }
        root.insert("listeners".into(), self.listeners.into());
        if !self.providers.is_empty() {
            root.insert("providers".into(), self.providers.into());
        }
        root.insert("registrations".into(), self.registrations.into());
        root.insert("accounts".into(), self.accounts.into());
        let body = serde_yaml::to_string(&root).map_err(|error| error.to_string())?;
        let mut yaml = String::from("# From an emailproxy.config. What is left to do:\n#\n");
        for note in &self.notes {
            yaml.push_str(&format!("# - {note}\n"));
        }
        yaml.push('\n');
        yaml.push_str(&body);
        Ok(Imported {
            yaml,
            notes: self.notes,
        })
    }

    /// A listener's provider is guessed where accounts of several meet.
    fn several_providers(&mut self) {
        let mut providers: Vec<String> = Vec::new();
        for registration in self.registrations.values() {
            if let Some(name) = registration.get("provider").and_then(Value::as_str)
                && !providers.iter().any(|other| other == name)
            {
                providers.push(name.to_owned());
            }
        }
        let first = providers.first().filter(|_| providers.len() > 1).cloned();
        let several = providers.join(", ");
        for listener in &mut self.listeners {
            if let Some(listener) = listener.as_object_mut() {
                let host = listener.remove("upstream");
                let Some(first) = &first else { continue };
                let guess = host
                    .as_ref()
                    .and_then(Value::as_str)
                    .and_then(server::preset_of_host)
                    .filter(|guess| providers.iter().any(|other| other == guess));
                let provider = guess.unwrap_or(first.as_str());
                listener.insert("provider".into(), provider.into());
            }
        }
        if first.is_none() {
            return;
        }
        self.note(format!(
            "one listener serves accounts of several providers here ({several}); its provider only says which capabilities it shows before login"
        ));
    }
}

/// Names and keys are the file's: in a comment they must not begin a line of their own.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn is_true(value: &str) -> bool {
    ["true", "yes", "on", "1"].contains(&value.to_lowercase().as_str())
}
