//! `service`: authrelay as a service of Windows.

use std::path::Path;

use super::setup::{Exit, print};
use crate::platform::service::{self, ServiceError};

#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub(super) enum Command {
    /// Install the service for the configuration, or change it to another; as an administrator
    Install,
    /// Stop and remove the service; configuration and state stay
    Uninstall,
    /// Start the service and wait until it serves
    Start,
    /// Stop the service when its sessions have drained
    Stop,
    /// Print what the service manager knows of it: 0 while it runs, 1 otherwise
    Status,
}

pub(super) fn run(config: &Path, command: Command) -> Result<Exit, Exit> {
    let (done, said) = match command {
        Command::Install => return install(config),
        Command::Uninstall => (
            service::uninstall(),
            "removed; configuration and state stay\n",
        ),
        Command::Start => (service::start(), "running\n"),
        Command::Stop => (service::stop(), "stopped\n"),
        Command::Status => return status(),
    };
    done.map_err(refuse)?;
    Ok(print(said))
}

fn install(config: &Path) -> Result<Exit, Exit> {
    // A service for a file that is not there would fail at once.
    match service::status() {
        Err(error @ ServiceError::Unsupported) => return Err(refuse(error)),
        _ if !config.exists() => {
            return Err(Exit::Config.with(format_args!(
                "{}: there is no such file; authrelay init --output FILE writes a first one",
                config.display()
            )));
        }
        _ => {}
    }
    let done = service::install(config).map_err(refuse)?;
    Ok(print(format!(
        "{}\nnext: authrelay service start\n",
        done.join("\n")
    )))
}

fn status() -> Result<Exit, Exit> {
    let status = service::status().map_err(refuse)?;
    let process = status
        .process
        .map_or_else(String::new, |id| format!(", process {id}"));
    let printed = print(format!(
        "{}{process}\nstart    {}\naccount  {}\ncommand  {}\n",
        status.state, status.start, status.account, status.command
    ));
    match (printed, status.is_running) {
        (Exit::Done, false) => Err(Exit::Failed),
        (printed, _) => Ok(printed),
    }
}

fn refuse(error: ServiceError) -> Exit {
    let exit = match error {
        ServiceError::Unsupported => Exit::Usage,
        _ => Exit::Failed,
    };
    exit.with(error)
}
