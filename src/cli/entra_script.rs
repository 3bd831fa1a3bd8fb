//! `entra LOGIN --script`: writes a PowerShell script that performs the guide's steps for all
//! accounts of the login's registration.
//!
//! The script changes only what differs, shows its plan, asks once, and grants minimal rights.
//! Texts of the configuration appear only in single quotes.

#[cfg(test)]
mod tests;

use base64::Engine as _;

use crate::config::{Account, ClientCredential, Config, Grant, LoginPattern, Registration};
use crate::fault::quoted;
use crate::wire::Protocol;
use crate::wire::address::Pattern;

/// Parameters, plan, confirmation and steps; each step checks before it acts.
const SCRIPT: &str = include_str!("entra_script.ps1");

/// Place of the values in the script.
const VALUES: &str = "# (values)\n";

fn list(values: impl IntoIterator<Item = String>) -> String {
    let values: Vec<_> = values.into_iter().map(|value| quoted(&value)).collect();
    format!("@({})", values.join(", "))
}

/// A mailbox with the login and protocols that open it.
#[derive(Debug, PartialEq, Eq)]
struct Opened {
    login: String,
    mailbox: String,
    protocols: Vec<Protocol>,
}

/// Mailboxes and protocols that the accounts of a registration need.
#[derive(Debug, Default)]
struct Wanted {
    opened: Vec<Opened>,
    /// Logins and senders that name no single mailbox.
    patterns: Vec<String>,
    pattern_protocols: Vec<Protocol>,
    protocols: Vec<Protocol>,
}

impl Wanted {
    /// Collects the needs of the registration of `asked`, which is the account of `login`.
    fn of(config: &Config, asked: &Account, login: &str) -> Self {
        let mut wanted = Self::default();
        let registration = &asked.registration;
        let accounts = config.accounts.iter();
        for account in accounts.filter(|account| account.registration.name == registration.name) {
            let login = std::ptr::eq(&**account, asked).then_some(login);
            for protocol in account.served() {
                wanted.add(account, protocol, login);
            }
        }
        wanted
    }

    fn add(&mut self, account: &Account, protocol: Protocol, asked: Option<&str>) {
        include(&mut self.protocols, protocol);
        if protocol == Protocol::Smtp && account.mailbox.smtp_is_sender {
            return self.add_senders(account);
        }
        match (&account.login, asked, account.mailbox.of(protocol)) {
            (LoginPattern::Exact(login), _, _) => {
                self.open(login, account.mailbox_of(protocol, login), protocol);
            }
            (_, Some(login), _) => {
                self.open(login, account.mailbox_of(protocol, login), protocol);
                self.add_pattern(account.login.to_string(), protocol);
            }
            (_, None, Some(mailbox)) => self.open(mailbox, mailbox.to_owned(), protocol),
            (_, None, None) => self.add_pattern(account.login.to_string(), protocol),
        }
    }

    /// Adds the senders of `mailbox: {smtp: sender}`, which are the mailboxes.
    fn add_senders(&mut self, account: &Account) {
        let senders = account
            .smtp
            .as_ref()
            .and_then(|policy| policy.senders.as_ref());
        for sender in senders.into_iter().flat_map(|senders| senders.iter()) {
            match sender {
                Pattern::Exact(address) => self.open(address, address.clone(), Protocol::Smtp),
                Pattern::Domain(domain) => {
                    self.add_pattern(format!("*@{domain}"), Protocol::Smtp);
                }
                Pattern::Any | Pattern::Null => {}
            }
        }
    }

    fn add_pattern(&mut self, pattern: String, protocol: Protocol) {
        if !self.patterns.contains(&pattern) {
            self.patterns.push(pattern);
        }
        include(&mut self.pattern_protocols, protocol);
    }

    fn open(&mut self, login: &str, mailbox: String, protocol: Protocol) {
        let known = self.opened.iter_mut();
        match { known }.find(|opened| opened.login == login && opened.mailbox == mailbox) {
            Some(opened) => include(&mut opened.protocols, protocol),
            None => self.opened.push(Opened {
                login: login.to_owned(),
                mailbox,
                protocols: vec![protocol],
            }),
        }
    }
}

fn include(protocols: &mut Vec<Protocol>, protocol: Protocol) {
    if !protocols.contains(&protocol) {
        protocols.push(protocol);
    }
}

fn names(protocols: &[Protocol]) -> String {
    list(protocols.iter().map(|protocol| {
        let name = match protocol {
            Protocol::Imap => "imap",
            Protocol::Pop3 => "pop",
            Protocol::Smtp => "smtp",
        };
        name.to_owned()
    }))
}

/// Builds the script for the registration of `account`, which is the account of `login`.
///
/// # Errors
///
/// The reason why the grant has no script.
pub(super) fn script(config: &Config, account: &Account, login: &str) -> Result<String, String> {
    let registration = &account.registration;
    let kind = kind(registration)?;
    let wanted = Wanted::of(config, account, login);
    let mut text = String::new();
    for (name, value) in values(config, registration, kind, &wanted) {
        text.push_str(&format!("${name} = {value}\n"));
    }
    text.push_str("$accounts = @(\n");
    for opened in &wanted.opened {
        text.push_str(&format!(
            "    @{{ Login = {}; Mailbox = {}; Protocols = {} }}\n",
            quoted(&opened.login),
            quoted(&opened.mailbox),
            names(&opened.protocols)
        ));
    }
    text.push_str(")\n");
    Ok(SCRIPT.replacen(VALUES, &text, 1))
}

/// Kind of the registration: an application, a managed identity, or a consenting user.
fn kind(registration: &Registration) -> Result<&'static str, String> {
    if registration.provider.name == "outlook" {
        return Err("personal accounts have no administrator and no PowerShell".to_owned());
    }
    match &registration.grant {
        Grant::ClientCredentials(_) => Ok("application"),
        Grant::ManagedIdentity { .. } => Ok("managed"),
        Grant::AuthorizationCode(_) | Grant::DeviceCode(_) | Grant::Password(_) => Ok("delegated"),
        Grant::ServiceAccount(_) => Err(
            "service accounts are Google's: their rights are granted in Google's admin console"
                .to_owned(),
        ),
        Grant::Command { .. } => {
            Err("only the command knows which registration its tokens belong to".to_owned())
        }
    }
}

/// PowerShell variables with their values.
fn values(
    config: &Config,
    registration: &Registration,
    kind: &str,
    wanted: &Wanted,
) -> Vec<(&'static str, String)> {
    let high_volume = registration.provider.is_high_volume();
    let switch = |on: bool| format!("${on}");
    let (graph, exchange) = match registration.provider.name.as_str() {
        "microsoft365-us" => ("USGov", "O365USGovGCCHigh"),
        "microsoft365-dod" => ("USGovDoD", "O365USGovDoD"),
        "microsoft365-china" => ("China", "O365China"),
        _ => ("Global", "O365Default"),
    };
    let (redirect, platform) = redirect(config, registration).unwrap_or_default();
    let (credential, certificate) = credential(registration);
    let client_id = match &registration.grant {
        Grant::ManagedIdentity { client_id, .. } => client_id.as_deref().unwrap_or_default(),
        _ => registration.client_id.as_str(),
    };
    vec![
        ("kind", quoted(kind)),
        ("tenant", quoted(&registration.tenant)),
        ("clientId", quoted(client_id)),
        (
            "displayName",
            quoted(&format!("authrelay {}", registration.name)),
        ),
        ("graphEnvironment", quoted(graph)),
        ("exchangeEnvironment", quoted(exchange)),
        ("highVolume", switch(high_volume)),
        (
            "permissions",
            list(permissions(kind, high_volume, &wanted.protocols)),
        ),
        ("credential", quoted(credential)),
        ("certificate", quoted(&certificate)),
        ("redirectUri", quoted(&redirect)),
        ("redirectPlatform", quoted(platform)),
        ("publicClient", switch(is_public_client(registration))),
        ("consent", switch(registration.grant.needs_consent())),
        (
            "passwordGrant",
            switch(matches!(registration.grant, Grant::Password(_))),
        ),
        ("patterns", list(wanted.patterns.iter().cloned())),
        ("patternProtocols", names(&wanted.pattern_protocols)),
    ]
}

/// Minimal permissions in Entra. SMTP.SendAsApp would let an application send as every mailbox; a
/// role in Exchange names the mailboxes instead.
fn permissions(kind: &str, high_volume: bool, protocols: &[Protocol]) -> Vec<String> {
    if high_volume {
        return vec!["Mail.Send".to_owned()];
    }
    let application = kind != "delegated";
    let needed = |protocol: &&Protocol| !(application && **protocol == Protocol::Smtp);
    let name = |protocol: &Protocol| permission(*protocol, application).to_owned();
    protocols.iter().filter(needed).map(name).collect()
}

/// Permission for a protocol, of an application by itself or of one that a person uses.
pub(super) fn permission(protocol: Protocol, application: bool) -> &'static str {
    match (protocol, application) {
        (Protocol::Imap, true) => "IMAP.AccessAsApp",
        (Protocol::Pop3, true) => "POP.AccessAsApp",
        (Protocol::Smtp, true) => "SMTP.SendAsApp",
        (Protocol::Imap, false) => "IMAP.AccessAsUser.All",
        (Protocol::Pop3, false) => "POP.AccessAsUser.All",
        (Protocol::Smtp, false) => "SMTP.Send",
    }
}

/// Whether the application has a person who signs in, and neither secret nor certificate.
pub(super) fn is_public_client(registration: &Registration) -> bool {
    matches!(
        registration.grant,
        Grant::DeviceCode(None) | Grant::Password(None) | Grant::AuthorizationCode(None)
    )
}

/// Redirect URI of an authorization code, and its platform in the portal.
pub(super) fn redirect(
    config: &Config,
    registration: &Registration,
) -> Option<(String, &'static str)> {
    let Grant::AuthorizationCode(credential) = &registration.grant else {
        return None;
    };
    let uri = super::authorize::redirect(config).ok()?.to_string();
    let platform = match credential {
        Some(_) => "Web",
        None => "Mobile and desktop applications",
    };
    Some((uri, platform))
}

/// Kind of the client authentication, and the certificate in base64.
fn credential(registration: &Registration) -> (&'static str, String) {
    let none = String::new();
    match registration.grant.credential() {
        Some(ClientCredential::Secret(_) | ClientCredential::ClientPassword) => ("secret", none),
        Some(ClientCredential::Certificate(key)) => {
            let encoded = base64::engine::general_purpose::STANDARD.encode(&key.certificate);
            ("certificate", encoded)
        }
        Some(ClientCredential::Federated(_)) => ("federated", none),
        None => ("none", none),
    }
}
