//! `service`: authrelay as a service of Windows.

use std::path::Path;

use super::setup::{Exit, print, print_error};
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

pub(super) fn run(config: &Path, command: Command) -> Exit {
    let said = match command {
        Command::Install => return install(config),
        Command::Uninstall => {
            service::uninstall().map(|()| "removed; configuration and state stay")
        }
        Command::Start => service::start().map(|()| "running"),
        Command::Stop => service::stop().map(|()| "stopped"),
        Command::Status => return status(),
    };
    match said {
        Ok(said) => print(format!("{said}\n")),
        Err(error) => refuse(&error),
    }
}

fn install(config: &Path) -> Exit {
    // A service for a file that is not there would fail at once.
    match service::status() {
        Err(error @ ServiceError::Unsupported) => return refuse(&error),
        _ if !config.exists() => {
            print_error(format_args!(
                "{}: there is no such file; authrelay init --output FILE writes a first one",
                config.display()
            ));
            return Exit::Config;
        }
        _ => {}
    }
    match service::install(config) {
        Ok(done) => print(format!(
            "{}\nnext: authrelay service start\n",
            done.join("\n")
        )),
        Err(error) => refuse(&error),
    }
}

fn status() -> Exit {
    let status = match service::status() {
        Ok(status) => status,
        Err(error) => return refuse(&error),
    };
    let process = status
        .process
        .map_or_else(String::new, |id| format!(", process {id}"));
    let printed = print(format!(
        "{}{process}\nstart    {}\naccount  {}\ncommand  {}\n",
        status.state, status.start, status.account, status.command
    ));
    match (printed, status.is_running) {
        (Exit::Done, false) => Exit::Failed,
        (printed, _) => printed,
    }
}

fn refuse(error: &ServiceError) -> Exit {
    print_error(error);
    match error {
        ServiceError::Unsupported => Exit::Usage,
        _ => Exit::Failed,
    }
}
