//! `entra LOGIN`: prints portal steps and commands for an account's grant and protocols. Works
//! offline, with names from the configuration.

use std::path::Path;

use askama::Template;

use super::entra_script::{is_public_client, permission, redirect};
use super::setup::{Exit, StepNumber, load, no_account, print};
use crate::config::{Account, ClientCredential, Config, Grant, Logins, Registration};
use crate::fault::{argument, enable_protocol, full_access, shell_argument};
use crate::wire::Protocol;

pub(super) fn run(path: &Path, login: &str, script: bool) -> Result<Exit, Exit> {
    let login = login.to_lowercase();
    let config = load(path)?;
    let logins = Logins::new(&config.accounts);
    let account = logins.find(&login);
    let account = account.ok_or_else(|| Exit::Usage.with(no_account(&login)))?;
    let provider = &account.registration.provider.name;
    if !(provider.starts_with("microsoft365") || provider == "outlook") {
        return Err(Exit::Usage.with(format_args!(
            "the provider of {login} is {provider}; this command knows Microsoft's"
        )));
    }
    if !script {
        return Ok(print(format!("{}\n", guide(&config, account, &login))));
    }
    let script = super::entra_script::script(&config, account, &login).map_err(|why| {
        let grant = account.registration.grant.name();
        Exit::Usage.with(format_args!(
            "there is no script for {login}, whose grant is {grant}: {why}; without --script the steps are printed"
        ))
    })?;
    Ok(print(script))
}

/// Numbered steps with their commands.
#[derive(Template)]
#[template(path = "entra.txt")]
struct Guide<'a> {
    login: &'a str,
    account: &'a Account,
    registration: &'a Registration,
    /// Redirect URI and its platform.
    redirect: Option<(String, &'static str)>,
    client_id: &'a str,
    /// Whether the account is a personal one, which has no administrator.
    is_personal: bool,
    is_high_volume: bool,
    /// Whether the tokens are an application's own.
    is_application: bool,
    /// Whether the application only sends, so that an RBAC role that names the mailboxes is enough. RBAC
    /// for Applications supports SMTP, but neither IMAP nor POP.
    by_role: bool,
    sends: bool,
    /// Exact names of the permissions.
    permissions: String,
    mailboxes: Vec<String>,
    /// Commands that enable the protocols.
    switches: Vec<String>,
    step: StepNumber,
}

fn guide<'a>(config: &Config, account: &'a Account, login: &'a str) -> Guide<'a> {
    let registration = &*account.registration;
    let grant = &registration.grant;
    let is_application = grant.is_app_only() || matches!(grant, Grant::Command(_));
    let names: Vec<_> = account
        .served()
        .map(|protocol| permission(protocol, is_application))
        .collect();
    let mut mailboxes: Vec<String> = account
        .served()
        .map(|protocol| account.mailbox_of(protocol, login))
        .collect();
    let switches = account.served().zip(&mailboxes);
    let switches = switches.map(|(protocol, mailbox)| enable_protocol(protocol, mailbox));
    let switches = switches.collect();
    mailboxes.dedup();
    Guide {
        login,
        account,
        registration,
        redirect: redirect(config, registration),
        client_id: match registration.client_id.as_str() {
            "" => "CLIENT_ID",
            id => id,
        },
        is_personal: registration.provider.name == "outlook",
        is_high_volume: registration.provider.is_high_volume(),
        is_application,
        by_role: grant.is_app_only() && account.served().all(|it| it == Protocol::Smtp),
        sends: account.protocols.contains(&Protocol::Smtp),
        permissions: names.join(", "),
        mailboxes,
        switches,
        step: StepNumber::default(),
    }
}
