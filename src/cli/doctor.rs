//! `doctor`: tests the connection to each mailbox step by step, and explains failures.

use std::io::IsTerminal as _;
use std::path::Path;

use super::setup::{Exit, connect_store, load, no_account, print, print_error, runtime, service};
use crate::config::LoginPattern;
use crate::doctor::{Report, Step, TestTarget, listeners_ends, test_connection};
use crate::secret::Secret;
use crate::session::Service;
use crate::wire::Protocol;

/// Environment variable with the user's password for the grant `password`, if there is no terminal.
const PASSWORD: &str = "AUTHRELAY_PASSWORD";

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// One account's login [default: every account that is no wildcard]
    pub(super) login: Option<String>,
    /// imap, pop3 or smtp [default: all that the account allows]
    #[arg(long, value_parser = protocol)]
    pub(super) protocol: Option<Protocol>,
    /// Print the reports as JSON
    #[arg(long)]
    pub(super) json: bool,
}

fn protocol(text: &str) -> Result<Protocol, &'static str> {
    Protocol::from_name(text).ok_or("imap, pop3 or smtp")
}

pub(super) fn run(path: &Path, options: &Options) -> Result<Exit, Exit> {
    let config = load(path)?;
    let (runtime, service) = (runtime()?, service(&config)?);
    let targets = targets(&service, options).map_err(|why| Exit::Usage.with(why))?;
    // The step `store` says what is wrong with it.
    let _ = runtime.block_on(connect_store(&service));
    let mut printed = Exit::Done;
    // After an error nothing more is printed.
    let mut say = |text: String| {
        if printed == Exit::Done {
            printed = print(text);
        }
    };
    let mut reports = Vec::new();
    for target in &targets {
        if !options.json {
            say(format!("{} over {}\n", target.login, target.protocol));
        }
        let tested = test_connection(&service, target, |step| {
            if !options.json {
                say(line(step));
            }
        });
        reports.push(runtime.block_on(tested));
    }
    // A token redeemed for the test must be stored.
    let until = tokio::time::Instant::now() + service.limits.upstream_timeout;
    runtime.block_on(service.token_source.finish(until));
    if !options.json {
        for line in listeners_ends(&service) {
            say(format!("{line}\n"));
        }
    } else {
        let json = match &reports[..] {
            [one] => serde_json::to_string_pretty(one),
            several => serde_json::to_string_pretty(several),
        };
        say(format!("{}\n", json.unwrap_or_default()));
    }
    if printed != Exit::Done {
        return Err(printed);
    }
    match reports.iter().all(|report: &Report| report.ok) {
        true => Ok(Exit::Done),
        false => Err(Exit::Failed),
    }
}

fn targets(service: &Service, options: &Options) -> Result<Vec<TestTarget>, String> {
    let mut logins = Vec::new();
    match &options.login {
        Some(login) => {
            let login = login.to_lowercase();
            let account = service.find(&login);
            let account = account.ok_or_else(|| no_account(&login))?;
            logins.push((account.clone(), login));
        }
        None => {
            for account in &service.accounts {
                if let LoginPattern::Exact(login) = &account.login {
                    logins.push((account.clone(), login.clone()));
                }
            }
            if logins.is_empty() {
                return Err("every account is a wildcard: give one login to test".into());
            }
            if let Some(asked) = options.protocol {
                logins.retain(|(account, _)| account.serves(asked));
            }
            if logins.is_empty() {
                return Err("no account allows this protocol".into());
            }
        }
    }
    let mut targets = Vec::new();
    for (account, login) in logins {
        let password = match account.registration.grant.needs_client_password() {
            true => match password(&login) {
                Ok(password) => Some(password),
                Err(why) if options.login.is_some() => return Err(why),
                Err(why) => {
                    print_error(format_args!("{login} is not tested: {why}"));
                    continue;
                }
            },
            false => None,
        };
        let protocol = options.protocol;
        targets.extend(TestTarget::of(
            &account,
            &login,
            protocol,
            password.as_ref(),
        ));
    }
    match targets.is_empty() {
        true => Err("no account is left to test".into()),
        false => Ok(targets),
    }
}

fn password(login: &str) -> Result<Secret, String> {
    if let Ok(password) = std::env::var(PASSWORD) {
        return Ok(Secret::from(password));
    }
    if !std::io::stdin().is_terminal() {
        return Err(format!(
            "the identity provider checks the password of {login}: set {PASSWORD}, or run this in a terminal"
        ));
    }
    rpassword::prompt_password(format!("Password of {login}: "))
        .map(Secret::from)
        .map_err(|error| format!("the password cannot be read: {error}"))
}

fn line(step: &Step) -> String {
    let mark = if step.ok { "ok  " } else { "FAIL" };
    let mut text = format!(
        "  {mark} {:<8}{:>6} ms  {}\n",
        step.name, step.ms, step.detail
    );
    if let Some(cause) = &step.cause {
        text.push_str(&format!("       cause   {cause}\n"));
    }
    if let Some(remedy) = &step.remedy {
        text.push_str(&format!("       do      {remedy}\n"));
    }
    text
}
