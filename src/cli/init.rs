//! `init`: a first `proxy.yaml`, with a password for each login and secrets in files of their own.
//! Asks for what no flag says. Never overwrites.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;

use super::hash_password::hash;
use super::setup::{Exit, print, print_error};
use super::{authorize, check, doctor};
use crate::config::{self, Provider, Secrets};
use crate::platform;
use crate::secret::Secret;
use crate::wire::Protocol;

/// Octets of a password that is made.
const PASSWORD: usize = 18;

/// Content of a secret's file until the operator replaces it.
const PLACEHOLDER: &str = "put-the-value-of-the-client-secret-here";

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "proxy.yaml")]
    output: PathBuf,
    /// Mail service: microsoft365, outlook, google, or another preset
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
    /// Domain or id of the tenant, as in contoso.onmicrosoft.com
    #[arg(long)]
    tenant: Option<String>,
    /// Application (client) id
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// client_credentials, authorization_code, device_code, password, managed_identity,
    /// service_account (with --key) or command (with --command)
    #[arg(long)]
    grant: Option<String>,
    /// A login that applications use, the mailbox's address; may be repeated
    #[arg(long, value_name = "ADDRESS", num_args = 1.., value_delimiter = ',')]
    login: Vec<String>,
    /// imap, pop3, smtp [default: all that the provider has]
    #[arg(long, num_args = 1.., value_delimiter = ',')]
    protocols: Vec<String>,
    /// A file with the client secret [default: asked for, or a file to put it into]
    #[arg(long, value_name = "FILE")]
    client_secret: Option<PathBuf>,
    /// Google's JSON key of a service account
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A program that prints a token
    #[arg(long, value_name = "PROGRAM")]
    command: Option<String>,
}

/// Values that are known after flags and questions.
struct Answers {
    provider: String,
    protocols: Vec<Protocol>,
    grant: String,
    tenant: Option<String>,
    client_id: Option<String>,
    logins: Vec<String>,
    /// Typed in, where somebody did.
    secret: Option<Secret>,
}

/// Reason why nothing is written.
enum Trouble {
    /// A flag that is missing or wrong.
    Usage(String),
    Io(String),
}

pub(super) fn run(options: &Options) -> Exit {
    match init(options) {
        Ok(written) => {
            let printed = print(&written.text);
            match io::stdin().is_terminal() && io::stdout().is_terminal() {
                true => offer(options, &written),
                false => printed,
            }
        }
        Err(Trouble::Usage(why)) => {
            print_error(why);
            Exit::Usage
        }
        Err(Trouble::Io(why)) => {
            print_error(why);
            Exit::State
        }
    }
}

/// The report on what was written, and the steps that can follow.
struct Written {
    text: String,
    /// The first login.
    login: String,
    needs_consent: bool,
    /// A placeholder stands in the secret's file.
    lacks_secret: bool,
}

/// Offers the next steps to the person at the terminal, one after the other; the first that fails ends
/// them, and says what to do by itself.
fn offer(options: &Options, written: &Written) -> Exit {
    let path = options.output.as_path();
    let wants = |question: &str| {
        let answer = ask(None, "", &format!("{question} (yes, no)"), Some("yes"));
        answer.is_ok_and(|answer| answer.to_lowercase().starts_with('y'))
    };
    if !wants("\nCheck the file now?") {
        return Exit::Done;
    }
    let checked = check::run(
        path,
        &check::Options {
            no_secrets: false,
            online: false,
        },
    );
    if checked != Exit::Done || written.lacks_secret {
        return checked;
    }
    if written.needs_consent {
        if !wants("\nHave the mailbox's owner consent now?") {
            return Exit::Done;
        }
        let consent = authorize::Options {
            login: written.login.clone(),
            method: None,
        };
        match authorize::run(path, &consent) {
            Exit::Done => {}
            failed => return failed,
        }
    }
    if !wants("\nTest the way to the mailbox now?") {
        return Exit::Done;
    }
    let test = doctor::Options {
        login: Some(written.login.clone()),
        protocol: None,
        json: false,
    };
    doctor::run(path, &test)
}

fn init(options: &Options) -> Result<Written, Trouble> {
    let folder = options.output.parent().unwrap_or(Path::new(""));
    let secret_file = folder.join("client-secret");
    let is_taken = |path: &Path| match path.exists() {
        true => Err(Trouble::Io(format!(
            "{}: is there already, and init never overwrites",
            path.display()
        ))),
        false => Ok(()),
    };
    is_taken(&options.output)?;
    let answers = answers(options)?;
    let needs_secret = answers.grant == "client_credentials" && options.client_secret.is_none();
    if needs_secret {
        is_taken(&secret_file)?;
    }
    let passwords = passwords(&answers)?;
    let text = configuration(options, &answers, &passwords);
    // What is wrong with the answers is found before anything is written.
    if let Err(problems) = config::check_text(&text, &options.output, Secrets::Skip) {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        return Err(Trouble::Usage(problems.join("\n")));
    }
    if needs_secret {
        let secret = answers.secret.as_ref().map_or(PLACEHOLDER, Secret::expose);
        write(&secret_file, &format!("{secret}\n"))?;
    }
    write(&options.output, &text)?;
    Ok(Written {
        text: next_steps(options, &answers, &passwords, &secret_file),
        login: answers.logins.first().cloned().unwrap_or_default(),
        needs_consent: needs_consent(&answers.grant),
        lacks_secret: needs_secret && answers.secret.is_none(),
    })
}

/// A new file that only its owner may read.
fn write(path: &Path, text: &str) -> Result<(), Trouble> {
    let file = platform::open_private(OpenOptions::new().write(true).create_new(true), path);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| Trouble::Io(format!("{}: {error}", path.display())))
}

/// From flags, and from a person where there is a terminal.
fn answers(options: &Options) -> Result<Answers, Trouble> {
    let presets = config::presets();
    let names: Vec<_> = presets.keys().map(String::as_str).collect();
    let provider = ask(
        options.provider.as_deref(),
        "--provider",
        &format!("Mail service ({})", names.join(", ")),
        Some("microsoft365"),
    )?;
    let Some(preset) = presets.get(&provider) else {
        return Err(Trouble::Usage(format!(
            "--provider: there is no preset {provider}; write one of {}",
            names.join(", ")
        )));
    };
    let usual = match preset.scopes.application.is_empty() {
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
    let tenant = match is_client && preset.token_url.contains("{tenant}") {
        true => {
            let question = "Tenant, as in contoso.onmicrosoft.com (entra.microsoft.com: Overview, Primary domain or Tenant ID)";
            Some(ask(options.tenant.as_deref(), "--tenant", question, None)?)
        }
        false => options.tenant.clone(),
    };
    let client_id = match is_client {
        true => {
            let question = match preset.token_url.contains("{tenant}") {
                true => {
                    "Application (client) id (entra.microsoft.com: App registrations, New registration or yours, Overview)"
                }
                false => {
                    "Application (client) id (the service's console for developers: OAuth clients)"
                }
            };
            Some(ask(
                options.client_id.as_deref(),
                "--client-id",
                question,
                None,
            )?)
        }
        false => options.client_id.clone(),
    };
    require_flag(options, &grant)?;
    Ok(Answers {
        logins: logins(options)?,
        secret: client_secret(options, &grant),
        protocols: protocols(&options.protocols, preset)?,
        provider,
        grant,
        tenant,
        client_id,
    })
}

/// Checks the options that a grant cannot do without.
fn require_flag(options: &Options, grant: &str) -> Result<(), Trouble> {
    for (wanted, given, flag) in [
        ("service_account", options.key.is_some(), "--key"),
        ("command", options.command.is_some(), "--command"),
    ] {
        if grant == wanted && !given {
            return Err(Trouble::Usage(format!("the grant {grant} needs {flag}")));
        }
    }
    Ok(())
}

/// Takes the logins from their options, or asks a person.
fn logins(options: &Options) -> Result<Vec<String>, Trouble> {
    Ok(match &options.login[..] {
        [] => {
            let question = "Login of the application: the mailbox's address (several with commas)";
            let text = ask(None, "--login", question, None)?;
            let logins = text.split(',').map(|login| login.trim().to_owned());
            logins.filter(|login| !login.is_empty()).collect()
        }
        logins => logins.to_vec(),
    })
}

/// Asks for the client secret, where the grant has one and there is a terminal.
fn client_secret(options: &Options, grant: &str) -> Option<Secret> {
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

/// Gives the protocols that were named, or all that the provider has.
fn protocols(named: &[String], provider: &Provider) -> Result<Vec<Protocol>, Trouble> {
    let all = Protocol::ALL.into_iter();
    let has = |protocol: &Protocol| provider.endpoint(*protocol).is_some();
    if let Some(wrong) = named.iter().find(|name| {
        !all.clone()
            .filter(has)
            .any(|protocol| protocol.name() == **name)
    }) {
        return Err(Trouble::Usage(format!(
            "--protocols: {} has no {wrong}",
            provider.name
        )));
    }
    let is_named = |protocol: &Protocol| named.iter().any(|name| name == protocol.name());
    Ok(all
        .filter(has)
        .filter(|protocol| named.is_empty() || is_named(protocol))
        .collect())
}

/// Takes a value from its flag, or asks a person.
fn ask(
    given: Option<&str>,
    flag: &str,
    question: &str,
    usual: Option<&str>,
) -> Result<String, Trouble> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let missing = || Trouble::Usage(format!("{flag} is missing: {question}"));
    if !io::stdin().is_terminal() {
        return Err(missing());
    }
    let default = usual.map_or_else(String::new, |usual| format!(" [{usual}]"));
    let mut stderr = io::stderr();
    let _ = write!(stderr, "{question}{default}: ");
    let _ = stderr.flush();
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Trouble::Io(error.to_string()))?;
    match (line.trim(), usual) {
        ("", Some(usual)) => Ok(usual.to_owned()),
        ("", None) => Err(missing()),
        (text, _) => Ok(text.to_owned()),
    }
}

/// For each login a password and its hash; none where the identity provider checks it.
fn passwords(answers: &Answers) -> Result<Vec<(String, String)>, Trouble> {
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
    made.ok_or_else(|| Trouble::Io("the machine gives no randomness".to_owned()))
}

/// Quotes a text for YAML, whatever is in it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn needs_consent(grant: &str) -> bool {
    ["authorization_code", "device_code"].contains(&grant)
}

fn port(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Imap => 1143,
        Protocol::Pop3 => 1110,
        Protocol::Smtp => 1587,
    }
}

fn configuration(options: &Options, answers: &Answers, passwords: &[(String, String)]) -> String {
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
    for protocol in &answers.protocols {
        let _ = writeln!(
            text,
            "  - {{protocol: {protocol}, bind: 127.0.0.1:{}, provider: {}}}",
            port(*protocol),
            answers.provider
        );
    }
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

/// Writes the section `accounts`, but for its head.
fn write_accounts(text: &mut String, answers: &Answers, passwords: &[(String, String)]) {
    let protocols: Vec<_> = answers
        .protocols
        .iter()
        .map(|protocol| protocol.name())
        .collect();
    for (index, login) in answers.logins.iter().enumerate() {
        let _ = writeln!(text, "  - login: {}\n    registration: app", quoted(login));
        let _ = writeln!(text, "    protocols: [{}]", protocols.join(", "));
        if let Some((_, hash)) = passwords.get(index) {
            let _ = writeln!(
                text,
                "    password: {}   # another: authrelay hash-password",
                quoted(hash)
            );
        }
    }
}

/// Describes the steps that remain, with the passwords: they are nowhere else.
fn next_steps(
    options: &Options,
    answers: &Answers,
    passwords: &[(String, String)],
    secret_file: &Path,
) -> String {
    let output = options.output.display();
    let mut text = format!("wrote {output}\n\n");
    if !passwords.is_empty() {
        text.push_str("Passwords for the applications. They are shown once; the file has their hashes only.\n");
        for (login, (password, _)) in answers.logins.iter().zip(passwords) {
            let _ = writeln!(text, "  {login}  {password}");
        }
        text.push('\n');
    }
    text.push_str("Next:\n");
    let login = answers.logins.first().map_or("LOGIN", String::as_str);
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
    text.push_str("\nThe application's fields: user name and password as above, no TLS,\n");
    for protocol in &answers.protocols {
        let _ = writeln!(
            text,
            "  {protocol}: server 127.0.0.1, port {}",
            port(*protocol)
        );
    }
    text
}
