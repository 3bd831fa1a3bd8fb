//! `init`: writes a first `proxy.yaml`, with a password for each login and secrets in separate
//! files. Asks for values without a flag. Never overwrites.

mod answers;
mod text;

use std::io::{self, IsTerminal as _};
use std::path::Path;

use super::files::{NewFile, is_there, write_all};
use super::setup::{Exit, print};
use super::{authorize, check, doctor};
use crate::config::{Config, LoadMode};
use crate::secret::Secret;
pub(super) use answers::Options;
use answers::{InitError, answers, ask, passwords};
use text::{configuration, needs_consent, next_steps};

/// Content of a secret's file until the operator replaces it.
const PLACEHOLDER: &str = "put-the-value-of-the-client-secret-here";

pub(super) fn run(options: &Options) -> Result<Exit, Exit> {
    let written = init(options).map_err(|error| match error {
        InitError::Usage(why) => Exit::Usage.with(why),
        InitError::Io(why) => Exit::State.with(why),
    })?;
    let printed = print(&written.text);
    match io::stdin().is_terminal() && io::stdout().is_terminal() {
        true => offer(options, &written),
        false => Ok(printed),
    }
}

/// Report about the written files, and the possible next steps.
struct Written {
    text: String,
    /// First login, or an address that it covers.
    login: String,
    needs_consent: bool,
    /// Whether the secret's file contains a placeholder.
    lacks_secret: bool,
}

/// Offers the next steps at the terminal, one after the other, up to the first that fails, which
/// reports the remedy itself.
fn offer(options: &Options, written: &Written) -> Result<Exit, Exit> {
    let path = options.output.as_path();
    let wants = |question: &str| {
        let answer = ask(None, "", &format!("{question} (yes, no)"), Some("yes"));
        answer.is_ok_and(|answer| answer.to_lowercase().starts_with('y'))
    };
    if !wants("\nCheck the file now?") {
        return Ok(Exit::Done);
    }
    let checked = check::run(path, &check::Options::default())?;
    if checked != Exit::Done || written.lacks_secret {
        return Ok(checked);
    }
    if written.needs_consent {
        if !wants("\nHave the mailbox's owner consent now?") {
            return Ok(Exit::Done);
        }
        let consent = authorize::Options {
            login: written.login.clone(),
            method: None,
        };
        match authorize::run(path, &consent)? {
            Exit::Done => {}
            failed => return Err(failed),
        }
    }
    if !wants("\nTest the connection to the mailbox now?") {
        return Ok(Exit::Done);
    }
    let test = doctor::Options {
        login: Some(written.login.clone()),
        protocol: None,
        json: false,
    };
    doctor::run(path, &test)
}

fn init(options: &Options) -> Result<Written, InitError> {
    let folder = options.output.parent().unwrap_or(Path::new(""));
    let secret_file = folder.join("client-secret");
    let is_taken = |path: &Path| match is_there(path) {
        true => Err(InitError::Io(format!(
            "{}: exists already, and init never overwrites a file",
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
    // The answers are checked before anything is written.
    if let Err(problems) = Config::parse(&text, &options.output, LoadMode::CheckWithoutSecrets) {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        return Err(InitError::Usage(problems.join("\n")));
    }
    let secret = answers.secret.as_ref().map_or(PLACEHOLDER, Secret::expose);
    let secret = zeroize::Zeroizing::new(format!("{secret}\n"));
    let file = |path: &Path, text| NewFile {
        path: path.to_owned(),
        text,
        is_private: true,
    };
    let mut files = vec![file(&options.output, &text)];
    if needs_secret {
        files.push(file(&secret_file, &secret));
    }
    write_all(&files, false).map_err(InitError::Io)?;
    let lacks_secret = needs_secret && answers.secret.is_none();
    Ok(Written {
        text: next_steps(options, &answers, &passwords, &secret_file, lacks_secret),
        login: answers.first_login(),
        needs_consent: needs_consent(&answers.grant),
        lacks_secret,
    })
}
