//! `sandbox`: runs an emulated Microsoft 365 with a relay in front of it, as a demonstration
//! without an account.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::str::FromStr as _;

use super::setup::{Exit, print, print_error, runtime};
use crate::config::{Config, LoadMode, Log, LogFormat};
use crate::logging;
use crate::platform::manager;
use crate::sandbox::{self, Fault, Ports, Sandbox};
use crate::server::{CannotBind, Server};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Port of the IMAP listener
    #[arg(long, value_name = "PORT", default_value_t = 1143)]
    imap: u16,
    /// Port of the POP3 listener
    #[arg(long, value_name = "PORT", default_value_t = 1110)]
    pop3: u16,
    /// Port of the SMTP listener
    #[arg(long, value_name = "PORT", default_value_t = 1587)]
    smtp: u16,
    /// Port of the admin listener
    #[arg(long, value_name = "PORT", default_value_t = 8025)]
    admin: u16,
    /// Make the emulation misbehave; `list` names the ways
    #[arg(long, value_name = "NAME")]
    fault: Option<String>,
}

pub(super) fn run(options: &Options) -> Result<Exit, Exit> {
    let fault = match options.fault.as_deref() {
        None => None,
        Some("list") => return Ok(print(list())),
        Some(name) => Some(Fault::from_str(name).map_err(|error| Exit::Usage.with(error))?),
    };
    let log = logging::start(&Log {
        format: LogFormat::Text,
        ..Log::default()
    });
    log.map_err(|error| Exit::State.with(error))?;
    runtime()?.block_on(serve(options, fault)).map_err(|error| {
        let exit = match error.is::<CannotBind>() {
            true => Exit::Unavailable,
            false => Exit::State,
        };
        exit.with(format_args!("{error:#}"))
    })
}

async fn serve(options: &Options, fault: Option<Fault>) -> anyhow::Result<Exit> {
    let stop = manager::listen_for_stop().await;
    let sandbox = Sandbox::start(sandbox::Options::default()).await?;
    sandbox.set_fault(fault);
    let directory = tempfile::tempdir()?;
    let path = sandbox.proxy_yaml(
        directory.path(),
        Ports {
            imap: options.imap,
            pop3: options.pop3,
            smtp: options.smtp,
        },
    )?;
    // Appended, since the sandbox's file has no admin section.
    let admin = format!("\nadmin: {{bind: \"127.0.0.1:{}\"}}\n", options.admin);
    OpenOptions::new()
        .append(true)
        .open(&path)?
        .write_all(admin.as_bytes())?;
    let config = match Config::load(&path, LoadMode::Run) {
        Ok(config) => config,
        Err(problems) => {
            problems.iter().for_each(print_error);
            return Ok(Exit::Config);
        }
    };
    let server = Server::bind(&config)?;
    let port = |name: &str| {
        let addresses = server.addresses();
        let found = addresses.iter().find(|(listener, _)| listener == name);
        found.map_or(0, |(_, address): &(String, SocketAddr)| address.port())
    };
    let ports = Ports {
        imap: port("imap"),
        pop3: port("pop3"),
        smtp: port("smtp"),
    };
    print(sandbox.ready(ports));
    if let Some(admin) = &config.admin {
        let token = crate::admin::token(&admin.token)?;
        print(format!(
            "\nLook at the status page, http://localhost:{}/, with the token\n\n  {}\n",
            port("admin"),
            token.expose()
        ));
    }
    server.serve(stop).await?;
    Ok(Exit::Done)
}

fn list() -> String {
    let line = |fault: &Fault| format!("{:<24}{}\n", fault.name(), fault.describe());
    Fault::ALL.iter().map(line).collect()
}
