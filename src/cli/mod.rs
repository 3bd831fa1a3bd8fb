//! Commands: one file each, and what they end with.
//!
//! Results go to stdout, errors to stderr, one line each. Exit codes follow sysexits.h.

mod accounts;
mod audit;
mod authorize;
mod certs;
mod check;
mod doctor;
mod entra;
mod entra_script;
mod hash_password;
mod health;
mod import;
mod init;
mod reload;
mod run;
mod running;
mod sandbox;
mod service;

use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::{Config, Problem};
use crate::platform;
use crate::session::Service;
use crate::token::store::StateError;

/// Where the configuration is looked for first if nobody says.
const NEARBY: &str = "proxy.yaml";

/// Lets IMAP, POP3 and SMTP applications that only know user name and password use mailboxes that
/// want OAuth 2.0.
#[derive(Debug, Parser)]
#[command(name = "authrelay", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The configuration [default: proxy.yaml, then /etc/authrelay/proxy.yaml; Windows:
    /// %ProgramData%\authrelay\proxy.yaml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT, then drain
    Run(run::Options),
    /// Write a first proxy.yaml, with passwords and secrets in files of their own
    Init(init::Options),
    /// Ask the running relay whether it serves: 0 or 1
    Health(health::Options),
    /// Have the running relay read its configuration anew
    Reload,
    /// Windows: install, start, stop or remove the service authrelay
    #[command(subcommand)]
    Service(service::Command),
    /// Validate the configuration and print every problem
    Check(check::Options),
    /// Test the way to mailboxes step by step; what fails gets its cause and its fix
    Doctor(doctor::Options),
    /// Obtain a person's consent for an account
    Authorize(authorize::Options),
    /// Show each account, its token and its last fault
    Accounts(accounts::Options),
    /// Delete the stored tokens of an account
    Forget {
        /// Whose
        login: String,
    },
    /// Read a password from stdin or a prompt and print an argon2id PHC string
    HashPassword,
    /// Write a local CA and a server certificate for TLS listeners
    Certs(certs::Options),
    /// Print the portal steps, permissions and PowerShell that set an account up
    Entra {
        /// Whose
        login: String,

        /// One PowerShell script that does it all: asks once, takes the least rights, may be run again
        #[arg(long)]
        script: bool,
    },
    /// Turn an emailproxy.config, a davmail.properties or a sasl-xoauth2.conf into a proxy.yaml on stdout
    Import(import::Options),
    /// Check audit records
    #[command(subcommand)]
    Audit(audit::Command),
    /// Emulate Microsoft 365 and relay to it: no account needed
    Sandbox(sandbox::Options),
    /// Print the JSON Schema of the configuration, or its reference tables
    Schema {
        /// The reference tables of the README
        #[arg(long)]
        markdown: bool,
    },
    /// Print the completions of a shell
    Completions {
        /// Whose
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// How a command ended: sysexits.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 64,
    Unavailable = 69,
    State = 74,
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Runs what the process's arguments ask for.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors.
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            let _ = error.print();
            return exit.into();
        }
    };
    let config = arguments.config.unwrap_or_else(default_config);
    let exit = match arguments.command {
        Command::Run(options) => return run::run(config, options),
        Command::Init(options) => init::run(&options),
        Command::Health(options) => health::run(&config, &options),
        Command::Reload => reload::run(&config),
        Command::Service(command) => service::run(&config, command),
        Command::Check(options) => check::run(&config, &options),
        Command::Doctor(options) => doctor::run(&config, &options),
        Command::Import(options) => import::run(&options),
        Command::Entra { login, script } => entra::run(&config, &login, script),
        Command::Authorize(options) => authorize::run(&config, &options),
        Command::Accounts(options) => accounts::run(&config, &options),
        Command::Forget { login } => accounts::forget(&config, &login),
        Command::HashPassword => hash_password::run(),
        Command::Certs(options) => certs::run(&options),
        Command::Audit(command) => audit::run(&command),
        Command::Sandbox(options) => sandbox::run(&options),
        Command::Schema { markdown: true } => print(crate::config::markdown()),
        Command::Schema { markdown: false } => print(format!("{:#}\n", crate::config::schema())),
        Command::Completions { shell } => completions(shell),
        Command::Man => man(),
    };
    exit.into()
}

fn default_config() -> PathBuf {
    let nearby = PathBuf::from(NEARBY);
    let usual = platform::configuration();
    match !nearby.exists() && usual.exists() {
        true => usual,
        false => nearby,
    }
}

/// The configuration, or every problem of it on stderr.
fn load(path: &Path) -> Result<Config, Exit> {
    Config::load(path).map_err(|problems| refuse(&problems))
}

/// What administrators' commands work on, without listeners.
fn service(config: &Config) -> Result<Service, Exit> {
    let service = Service::new(config).map_err(|error| {
        print_error(format_args!("{error:#}"));
        match error.is::<StateError>() {
            true => Exit::State,
            false => Exit::Config,
        }
    })?;
    let notes = service.token_source().store().map(|store| store.notes());
    for note in notes.unwrap_or_default() {
        print_error(format_args!("warning: {note}"));
    }
    Ok(service)
}

fn refuse(problems: &[Problem]) -> Exit {
    problems.iter().for_each(print_error);
    Exit::Config
}

fn completions(shell: clap_complete::Shell) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "authrelay", &mut script);
    print(script)
}

fn man() -> Exit {
    let mut page = Vec::new();
    match clap_mangen::Man::new(Arguments::command()).render(&mut page) {
        Ok(()) => print(page),
        Err(error) => {
            print_error(error);
            Exit::State
        }
    }
}

/// Prints a command's result.
fn print(text: impl AsRef<[u8]>) -> Exit {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_ref())
        .and_then(|()| stdout.flush())
    {
        // Whoever closed the pipe has read enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            print_error(format_args!("stdout: {error}"));
            Exit::State
        }
        _ => Exit::Done,
    }
}

/// Prints one line of complaint.
fn print_error(what: impl Display) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// What commands that serve run on.
fn runtime() -> Result<tokio::runtime::Runtime, Exit> {
    if let Err(error) = platform::raise_open_files() {
        print_error(format_args!(
            "warning: the limit of open files stays as it is: {error}"
        ));
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            print_error(format_args!("no threads: {error}"));
            Exit::Unavailable
        })
}
