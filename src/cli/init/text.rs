//! Text of the configuration, and of the next steps.

use super::answers::{Answers, Options};
use crate::fault::shell_argument;
use crate::wire::Protocol;
use std::fmt::Write as _;
use std::path::Path;

/// Quotes a text for YAML.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

pub(super) fn needs_consent(grant: &str) -> bool {
    ["authorization_code", "device_code"].contains(&grant)
}

pub(super) fn port(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Imap => 1143,
        Protocol::Pop3 => 1110,
        Protocol::Smtp => 1587,
    }
}

/// Port of the listener for devices without a login: 25 takes privileges on most systems.
const DEVICES_PORT: u16 = 2525;

pub(super) fn configuration(
    options: &Options,
    answers: &Answers,
    passwords: &[(String, String)],
) -> String {
    let mut text = String::from(
        "# Made by `authrelay init`. Each key is explained in README.md; `authrelay check` finds every mistake.\n\n",
    );
    let consents = needs_consent(&answers.grant);
    if consents {
        text.push_str(
            "# Where the tokens of consents are kept, and what seals them: made at the first start.\n\
             # Keep the key out of backups of the directory.\n\
             state: {directory: ./state, key: {file: ./state.key}}\n\n",
        );
    }
    text.push_str(
        "# The status page, health, metrics and the API. Its token is made at the first start.\n\
         admin: {bind: 127.0.0.1:8025}\n\n\
         # Where applications connect, on this machine. For others: a network address, and tls (`authrelay certs`).\n\
         listeners:\n",
    );
    write_listeners(&mut text, answers);
    text.push_str("\n# The OAuth client: `authrelay entra LOGIN` prints how to set it up.\nregistrations:\n  app:\n");
    let _ = writeln!(text, "    provider: {}", answers.provider);
    for (key, value) in [
        ("tenant", &answers.tenant),
        ("client_id", &answers.client_id),
    ] {
        if let Some(value) = value {
            let _ = writeln!(text, "    {key}: {}", quoted(value));
        }
    }
    let _ = writeln!(text, "    grant: {}", quoted(&answers.grant));
    let absolute = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        quoted(&path.display().to_string())
    };
    if let Some(file) = &options.client_secret {
        let _ = writeln!(text, "    client_secret: {{file: {}}}", absolute(file));
    } else if answers.grant == "client_credentials" {
        text.push_str("    client_secret: {file: ./client-secret}\n    # client_secret_expires: 2027-05-01   # warned of from 14 days before\n");
    }
    if let Some(file) = &options.key {
        let _ = writeln!(text, "    key: {{file: {}}}", absolute(file));
    }
    if let Some(command) = &options.command {
        let _ = writeln!(text, "    command: [{}]", quoted(command));
    }
    text.push_str("\n# Logins of applications, and the mailboxes that they open (by default the login itself).\naccounts:\n");
    write_accounts(&mut text, answers, passwords);
    text
}

/// Writes the items of the section `listeners`.
fn write_listeners(text: &mut String, answers: &Answers) {
    for protocol in &answers.protocols {
        let _ = writeln!(
            text,
            "  - {{protocol: {protocol}, bind: 127.0.0.1:{}, provider: {}}}",
            port(*protocol),
            answers.provider
        );
    }
    if let ([_, ..], Some(login)) = (&answers.devices[..], answers.logins.first()) {
        let networks: Vec<_> = answers
            .devices
            .iter()
            .map(|network| quoted(network))
            .collect();
        let _ = writeln!(
            text,
            "  # Devices that cannot log in, in clear and from these networks only. They send as this login.\n\
             \x20 - {{name: devices, protocol: smtp, bind: 0.0.0.0:{DEVICES_PORT}, provider: {}, allow: [{}],\n\
             \x20    allow_cleartext: true, unauthenticated: {}}}",
            answers.provider,
            networks.join(", "),
            quoted(login)
        );
    }
}

/// Writes the items of the section `accounts`.
pub(super) fn write_accounts(text: &mut String, answers: &Answers, passwords: &[(String, String)]) {
    let protocols: Vec<_> = answers
        .protocols
        .iter()
        .map(|protocol| protocol.name())
        .collect();
    for (index, login) in answers.logins.iter().enumerate() {
        let _ = writeln!(text, "  - login: {}\n    registration: app", quoted(login));
        if let Some(mailbox) = &answers.mailbox {
            let _ = writeln!(text, "    mailbox: {}", quoted(mailbox));
        }
        let _ = writeln!(text, "    protocols: [{}]", protocols.join(", "));
        if index == 0 && !answers.devices.is_empty() {
            write_policy(text, answers.mailbox.as_ref().unwrap_or(login));
        }
        if let Some((_, hash)) = passwords.get(index) {
            let _ = writeln!(
                text,
                "    password: {}   # another: authrelay hash-password",
                quoted(hash)
            );
        }
    }
}

/// Writes what an account must have for devices that do not log in: whose address they send as, and to
/// whom.
fn write_policy(text: &mut String, mailbox: &str) {
    let domain = mailbox
        .rsplit_once('@')
        .map_or(mailbox, |(_, domain)| domain);
    let _ = writeln!(
        text,
        "    # For all that send as this login. Other recipients: add their addresses or domains.\n    \
         smtp: {{senders: [{}], recipients: [{}]}}",
        quoted(mailbox),
        quoted(&format!("*@{domain}"))
    );
}

/// Describes the remaining steps, with the passwords, which are stored nowhere.
pub(super) fn next_steps(
    options: &Options,
    answers: &Answers,
    passwords: &[(String, String)],
    secret_file: &Path,
) -> String {
    let mut text = format!("wrote {}\n\n", options.output.display());
    let output = shell_argument(&options.output.display().to_string());
    if !passwords.is_empty() {
        text.push_str("Passwords for the applications. They are shown once; the file has their hashes only.\n");
        for (login, (password, _)) in answers.logins.iter().zip(passwords) {
            let _ = writeln!(text, "  {login}  {password}");
        }
        text.push('\n');
    }
    text.push_str("Next:\n");
    let login = shell_argument(&answers.first_login());
    let mut step = 0;
    let mut next = |what: String| {
        step += 1;
        let _ = writeln!(text, "  {step}. {what}");
    };
    if answers.grant == "client_credentials"
        && options.client_secret.is_none()
        && answers.secret.is_none()
    {
        next(format!(
            "put the client secret's value into {}",
            secret_file.display()
        ));
    }
    if answers.provider.starts_with("microsoft365") || answers.provider == "outlook" {
        next(format!(
            "authrelay entra {login} --config {output}      how to set up Entra and Exchange"
        ));
    }
    next(format!("authrelay check --config {output}"));
    if needs_consent(&answers.grant) {
        next(format!(
            "authrelay authorize {login} --config {output}  the mailbox's owner consents"
        ));
    }
    next(format!(
        "authrelay doctor {login} --config {output}     tests the way to the mailbox"
    ));
    next(format!("authrelay run --config {output}"));
    write_fields(&mut text, answers, &answers.first_login());
    text
}

/// Writes the settings that applications and devices need.
fn write_fields(text: &mut String, answers: &Answers, login: &str) {
    text.push_str("\nThe application's fields: user name and password as above, no TLS,\n");
    for protocol in &answers.protocols {
        let _ = writeln!(
            text,
            "  {protocol}: server 127.0.0.1, port {}",
            port(*protocol)
        );
    }
    if !answers.devices.is_empty() {
        let mailbox = answers.mailbox.as_deref().unwrap_or(login);
        let _ = writeln!(
            text,
            "\nDevices: server is this machine's address, port {DEVICES_PORT}, no login, no TLS, sender {mailbox}"
        );
    }
}
