//! Text of the configuration, and of the next steps.

use super::super::setup::StepNumber;
use super::answers::{Answers, Options};
use crate::fault::shell_argument;
use crate::wire::Protocol;
use askama::Template;
use std::path::Path;

/// Quotes a text for YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Quotes a path for YAML, as an absolute one.
fn absolute(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    quoted(&path.display().to_string())
}

pub(super) fn needs_consent(grant: &str) -> bool {
    ["authorization_code", "device_code"].contains(&grant)
}

fn port(protocol: &Protocol) -> u16 {
    match protocol {
        Protocol::Imap => 1143,
        Protocol::Pop3 => 1110,
        Protocol::Smtp => 1587,
    }
}

/// Port of the listener for devices without a login: 25 takes privileges on most systems.
const DEVICES_PORT: u16 = 2525;

/// The configuration.
#[derive(Template)]
#[template(path = "init.yml")]
struct Configuration<'a> {
    options: &'a Options,
    answers: &'a Answers,
    /// Logins with the hashes of their passwords.
    accounts: Vec<(&'a String, Option<&'a String>)>,
    protocols: String,
    /// Networks of devices that do not log in, quoted.
    networks: String,
    /// Login by which the devices send, if there are any.
    devices_login: Option<&'a String>,
    /// Address that the devices send as, and the addresses to which they may send.
    sender: &'a str,
    recipients: String,
}

pub(super) fn configuration(
    options: &Options,
    answers: &Answers,
    passwords: &[(String, String)],
) -> String {
    let protocols: Vec<_> = answers.protocols.iter().map(|it| it.name()).collect();
    let networks: Vec<_> = answers.devices.iter().map(|it| quoted(it)).collect();
    // Passwords are one for each login, or none.
    let hashes = passwords.iter().map(|(_, hash)| Some(hash));
    let hashes = hashes.chain(std::iter::repeat(None));
    let login = answers.logins.first();
    let sender = answers.mailbox.as_ref().or(login);
    let sender = sender.map_or("", String::as_str);
    let domain = sender.rsplit_once('@').map_or(sender, |(_, domain)| domain);
    let configuration = Configuration {
        options,
        answers,
        accounts: answers.logins.iter().zip(hashes).collect(),
        protocols: protocols.join(", "),
        networks: networks.join(", "),
        devices_login: login.filter(|_| !networks.is_empty()),
        sender,
        recipients: format!("*@{domain}"),
    };
    format!("{configuration}\n")
}

/// The remaining steps, with the passwords, which are stored nowhere.
#[derive(Template)]
#[template(path = "init_next.txt")]
struct NextSteps<'a> {
    options: &'a Options,
    answers: &'a Answers,
    passwords: &'a [(String, String)],
    secret_file: &'a Path,
    lacks_secret: bool,
    is_entra: bool,
    /// Login and path of the configuration, as arguments of commands.
    login: String,
    output: String,
    /// Address that devices send as.
    sender: &'a str,
    step: StepNumber,
}

pub(super) fn next_steps(
    options: &Options,
    answers: &Answers,
    passwords: &[(String, String)],
    secret_file: &Path,
    lacks_secret: bool,
) -> String {
    let login = answers.first_login();
    let steps = NextSteps {
        options,
        answers,
        passwords,
        secret_file,
        lacks_secret,
        is_entra: answers.provider.starts_with("microsoft365") || answers.provider == "outlook",
        login: shell_argument(&login),
        output: shell_argument(&options.output.display().to_string()),
        sender: answers.mailbox.as_ref().unwrap_or(&login),
        step: StepNumber::default(),
    };
    format!("{steps}\n")
}
