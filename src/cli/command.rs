//! Arguments, exit codes, and the dispatch of commands.

#[cfg(not(feature = "sandbox"))]
use super::no_sandbox as sandbox;
#[cfg(feature = "sandbox")]
use super::sandbox;
use super::setup::{Exit, default_config, print};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Lets IMAP, POP3 and SMTP applications that only know user name and password use mailboxes that
/// require OAuth 2.0.
#[derive(Debug, Parser)]
#[command(name = "authrelay", version = crate::config::VERSION, about, max_term_width = 100)]
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
    Run(super::run::Options),
    /// Write a first proxy.yaml, with passwords and secrets in separate files
    Init(super::init::Options),
    /// Ask the running relay whether it serves: 0 or 1
    Health(super::health::Options),
    /// Tell the running relay to read its configuration again
    Reload,
    /// Windows: install, start, stop or remove the service authrelay
    #[command(subcommand)]
    Service(super::service::Command),
    /// Validate the configuration and print every problem
    Check(super::check::Options),
    /// Test the connection to mailboxes step by step, with cause and remedy of a failure
    Doctor(super::doctor::Options),
    /// Obtain a person's consent for an account
    Authorize(super::authorize::Options),
    /// Show each account, its token and its last fault
    Accounts(super::accounts::Options),
    /// Delete the stored tokens of an account
    Forget {
        /// Login of the account
        login: String,
    },
    /// Read a password from stdin or a prompt and print an argon2id PHC string
    HashPassword,
    /// Write a local CA and a server certificate for TLS listeners
    Certs(super::certs::Options),
    /// Print the portal steps, permissions and PowerShell that set an account up
    Entra {
        /// Login of the account
        login: String,

        /// One PowerShell script that does it all: asks once, grants the least rights, can be run
        /// again
        #[arg(long)]
        script: bool,
    },
    /// Turn an emailproxy.config, a davmail.properties or a sasl-xoauth2.conf into a proxy.yaml on
    /// stdout
    Import(super::import::Options),
    /// Check audit records
    #[command(subcommand)]
    Audit(super::audit::Command),
    /// Emulate Microsoft 365 and relay to it: no account needed
    #[cfg_attr(not(feature = "sandbox"), command(hide = true))]
    Sandbox(sandbox::Options),
    /// Print the JSON Schema of the configuration, or its reference tables
    Schema {
        /// The reference tables of the README
        #[arg(long)]
        markdown: bool,
    },
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Runs the command in the process's arguments.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are not errors.
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
        Command::Run(options) => return super::run::run(config, options),
        Command::Init(options) => super::init::run(&options),
        Command::Health(options) => super::health::run(&config, &options),
        Command::Reload => super::reload::run(&config),
        Command::Service(command) => super::service::run(&config, command),
        Command::Check(options) => super::check::run(&config, &options),
        Command::Doctor(options) => super::doctor::run(&config, &options),
        Command::Import(options) => super::import::run(&options),
        Command::Entra { login, script } => super::entra::run(&config, &login, script),
        Command::Authorize(options) => super::authorize::run(&config, &options),
        Command::Accounts(options) => super::accounts::run(&config, &options),
        Command::Forget { login } => super::accounts::forget(&config, &login),
        Command::HashPassword => super::hash_password::run(),
        Command::Certs(options) => super::certs::run(&options),
        Command::Audit(command) => super::audit::run(&command),
        Command::Sandbox(options) => sandbox::run(&options),
        Command::Schema { markdown: true } => Ok(print(crate::config::markdown())),
        Command::Schema { markdown: false } => {
            Ok(print(format!("{:#}\n", crate::config::schema())))
        }
        Command::Completions { shell } => completions(shell),
        Command::Man => man(),
    };
    exit.unwrap_or_else(|exit| exit).into()
}

fn completions(shell: clap_complete::Shell) -> Result<Exit, Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "authrelay", &mut script);
    Ok(print(script))
}

fn man() -> Result<Exit, Exit> {
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(Arguments::command()).render(&mut page);
    rendered.map_err(|error| Exit::State.with(error))?;
    Ok(print(page))
}
