//! Answers from flags, or from questions at the terminal.

use super::super::hash_password::hash;
use crate::config::{self, Provider};
use crate::secret::Secret;
use crate::wire::Protocol;
use base64::Engine as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

/// Random octets of a generated password.
pub(super) const PASSWORD: usize = 18;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Options {
    /// The file to write; one that is there is left alone
    #[arg(long, value_name = "FILE", default_value = "proxy.yaml")]
    pub(super) output: PathBuf,
    /// Mail service: microsoft365, outlook, google, or another preset
    #[arg(long, value_name = "PROVIDER")]
    pub(super) provider: Option<String>,
    /// Domain or id of the tenant, as in contoso.onmicrosoft.com
    #[arg(long)]
    pub(super) tenant: Option<String>,
    /// Application (client) id of the registration
    #[arg(long, value_name = "ID")]
    pub(super) client_id: Option<String>,
    /// client_credentials, authorization_code, device_code, password, managed_identity,
    /// service_account (with --key) or command (with --command)
    #[arg(long)]
    pub(super) grant: Option<String>,
    /// A login that applications use, the mailbox's address; may be repeated
    #[arg(long, value_name = "ADDRESS", num_args = 1.., value_delimiter = ',')]
    pub(super) login: Vec<String>,
    /// A shared mailbox that the logins open [default: each its own]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) mailbox: Option<String>,
    /// Networks of devices that cannot log in, as in 192.168.10.0/24: they send as the first login
    #[arg(long, value_name = "NETWORK", num_args = 1.., value_delimiter = ',')]
    pub(super) devices: Vec<String>,
    /// imap, pop3, smtp [default: all that the provider has]
    #[arg(long, num_args = 1.., value_delimiter = ',')]
    pub(super) protocols: Vec<String>,
    /// A file with the client secret [default: asked for, or a file to put it into]
    #[arg(long, value_name = "FILE")]
    pub(super) client_secret: Option<PathBuf>,
    /// Google's JSON key of a service account
    #[arg(long, value_name = "FILE")]
    pub(super) key: Option<PathBuf>,
    /// A program that prints a token
    #[arg(long, value_name = "PROGRAM")]
    pub(super) command: Option<String>,
}

/// Values collected from flags and questions.
pub(super) struct Answers {
    pub(super) provider: String,
    pub(super) protocols: Vec<Protocol>,
    pub(super) grant: String,
    pub(super) tenant: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) logins: Vec<String>,
    /// Shared mailbox that the logins open, if it is not their own.
    pub(super) mailbox: Option<String>,
    /// Networks of devices that cannot log in.
    pub(super) devices: Vec<String>,
    /// Secret typed at the terminal, if any.
    pub(super) secret: Option<Secret>,
}

impl Answers {
    /// First login, or an address that it covers if it is a wildcard.
    pub(super) fn first_login(&self) -> String {
        let login = self.logins.first().map_or("LOGIN", String::as_str);
        let domain = match login.strip_prefix('*') {
            None => return login.to_owned(),
            Some(domain) if !domain.is_empty() => domain.trim_start_matches('@'),
            Some(_) => self
                .tenant
                .as_deref()
                .filter(|tenant| tenant.contains('.'))
                .unwrap_or("example.com"),
        };
        format!("info@{domain}")
    }
}

/// Reason why nothing is written.
pub(super) enum InitError {
    /// A flag is missing or wrong.
    Usage(String),
    Io(String),
}

/// Collects values from flags, and by questions if there is a terminal.
pub(super) fn answers(options: &Options) -> Result<Answers, InitError> {
    let presets = config::presets();
    let names: Vec<_> = presets.keys().map(String::as_str).collect();
    let name = ask(
        options.provider.as_deref(),
        "--provider",
        &format!("Mail service ({})", names.join(", ")),
        Some("microsoft365"),
    )?;
    let Some(provider) = presets.get(&name) else {
        return Err(InitError::Usage(format!(
            "--provider: there is no preset {name}; write one of {}",
            names.join(", ")
        )));
    };
    let usual = match provider.preset.scopes.application.is_empty() {
        true => "authorization_code",
        false => "client_credentials",
    };
    let grant = ask(
        options.grant.as_deref(),
        "--grant",
        "Grant (client_credentials: the application's own; authorization_code, device_code: a person consents; password, managed_identity, service_account, command)",
        Some(usual),
    )?;
    let is_client = !["managed_identity", "service_account", "command"].contains(&grant.as_str());
    let tenant = match is_client && provider.token_url.contains("{tenant}") {
        true => {
            let question = "Tenant, as in contoso.onmicrosoft.com (entra.microsoft.com: Overview, Primary domain or Tenant ID)";
            Some(ask(options.tenant.as_deref(), "--tenant", question, None)?)
        }
        false => options.tenant.clone(),
    };
    let client_id = match is_client {
        true => Some(client_id(options, provider)?),
        false => options.client_id.clone(),
    };
    require_flag(options, &grant)?;
    let protocols = protocols(&options.protocols, provider)?;
    Ok(Answers {
        logins: logins(options)?,
        mailbox: ask_optional(
            options.mailbox.as_deref(),
            "Shared mailbox that the login opens (empty: its own)",
        )?,
        devices: devices(options, &protocols)?,
        secret: client_secret(options, &grant),
        protocols,
        provider: name,
        grant,
        tenant,
        client_id,
    })
}

/// Returns the client id from its flag, or asks for it and says where to find it.
fn client_id(options: &Options, provider: &Provider) -> Result<String, InitError> {
    let question = match provider.token_url.contains("{tenant}") {
        true => {
            "Application (client) id (entra.microsoft.com: App registrations, New registration or yours, Overview)"
        }
        false => "Application (client) id (the service's console for developers: OAuth clients)",
    };
    ask(options.client_id.as_deref(), "--client-id", question, None)
}

/// Checks the flags that a grant requires.
pub(super) fn require_flag(options: &Options, grant: &str) -> Result<(), InitError> {
    for (wanted, given, flag) in [
        ("service_account", options.key.is_some(), "--key"),
        ("command", options.command.is_some(), "--command"),
    ] {
        if grant == wanted && !given {
            return Err(InitError::Usage(format!("the grant {grant} needs {flag}")));
        }
    }
    Ok(())
}

/// Returns the logins from their flag, or asks for them.
pub(super) fn logins(options: &Options) -> Result<Vec<String>, InitError> {
    Ok(match &options.login[..] {
        [] => {
            let question = "Login of the application: the mailbox's address (several with commas)";
            listed(&ask(None, "--login", question, None)?)
        }
        logins => logins.to_vec(),
    })
}

/// Returns the networks of devices from their flag, or asks for them if SMTP is served.
fn devices(options: &Options, protocols: &[Protocol]) -> Result<Vec<String>, InitError> {
    if !options.devices.is_empty() || !protocols.contains(&Protocol::Smtp) {
        return Ok(options.devices.clone());
    }
    let question =
        "Network of devices that send without a login, as in 192.168.10.0/24 (empty: none)";
    Ok(listed(&ask_optional(None, question)?.unwrap_or_default()))
}

/// Splits an answer at its commas.
fn listed(answer: &str) -> Vec<String> {
    let items = answer.split(',').map(|item| item.trim().to_owned());
    items.filter(|item| !item.is_empty()).collect()
}

/// Asks for the client secret if the grant has one and there is a terminal.
pub(super) fn client_secret(options: &Options, grant: &str) -> Option<Secret> {
    match grant == "client_credentials" && options.client_secret.is_none() {
        true if io::stdin().is_terminal() => {
            let question = "The client secret's value (App registrations, Certificates & secrets: Value, not Secret ID; empty: put it into its file later): ";
            let typed = rpassword::prompt_password(question).unwrap_or_default();
            Some(typed)
                .filter(|typed| !typed.is_empty())
                .map(Secret::from)
        }
        _ => None,
    }
}

/// Returns the named protocols, or all that the provider offers.
pub(super) fn protocols(named: &[String], provider: &Provider) -> Result<Vec<Protocol>, InitError> {
    let all = Protocol::ALL.into_iter();
    let has = |protocol: &Protocol| provider.endpoint(*protocol).is_some();
    let is = |protocol: &Protocol, name: &str| Protocol::from_name(name) == Some(*protocol);
    let offered = || all.clone().filter(has);
    if let Some(wrong) = named
        .iter()
        .find(|name| !offered().any(|protocol| is(&protocol, name)))
    {
        return Err(InitError::Usage(format!(
            "--protocols: {} has no {wrong}",
            provider.name
        )));
    }
    let is_named = |protocol: &Protocol| named.iter().any(|name| is(protocol, name));
    Ok(offered()
        .filter(|protocol| named.is_empty() || is_named(protocol))
        .collect())
}

/// Returns a value from its flag, or asks for it.
pub(super) fn ask(
    given: Option<&str>,
    flag: &str,
    question: &str,
    usual: Option<&str>,
) -> Result<String, InitError> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let missing = || InitError::Usage(format!("{flag} is missing: {question}"));
    if !io::stdin().is_terminal() {
        return Err(missing());
    }
    let default = usual.filter(|usual| !usual.is_empty());
    let default = default.map_or_else(String::new, |usual| format!(" [{usual}]"));
    let mut stderr = io::stderr();
    let _ = write!(stderr, "{question}{default}: ");
    let _ = stderr.flush();
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    if read.map_err(|error| InitError::Io(error.to_string()))? == 0 {
        let _ = writeln!(stderr);
        let why = "the terminal's input ended before this was answered";
        return Err(InitError::Usage(why.to_owned()));
    }
    match (line.trim(), usual) {
        ("", Some(usual)) => Ok(usual.to_owned()),
        ("", None) => Err(missing()),
        (text, _) => Ok(text.to_owned()),
    }
}

/// Returns a value from its flag, or asks for it at a terminal; `None` without an answer.
fn ask_optional(given: Option<&str>, question: &str) -> Result<Option<String>, InitError> {
    if given.is_none() && !io::stdin().is_terminal() {
        return Ok(None);
    }
    let text = ask(given, "", question, Some(""))?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// Generates a password and its hash for each login; none if the identity provider checks
/// passwords.
pub(super) fn passwords(answers: &Answers) -> Result<Vec<(String, String)>, InitError> {
    if answers.grant == "password" {
        return Ok(Vec::new());
    }
    let one = |_: &String| {
        let mut octets = [0; PASSWORD];
        aws_lc_rs::rand::fill(&mut octets).ok()?;
        let password = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(octets);
        let hash = hash(&password).ok()?;
        Some((password, hash))
    };
    let made: Option<Vec<_>> = answers.logins.iter().map(one).collect();
    made.ok_or_else(|| InitError::Io("the machine provides no randomness".to_owned()))
}
