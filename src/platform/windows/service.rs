//! Registration of the service, its access rights and its event source.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceDependency,
    ServiceErrorControl, ServiceExitCode, ServiceFailureActions, ServiceFailureResetPeriod,
    ServiceInfo, ServiceStartType, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::super::service::{ServiceError, Status};
use super::name::NAME;
use super::{access, events};

/// Account of the service. Windows creates it; it has no password and no other rights.
const ACCOUNT: &str = r"NT SERVICE\authrelay";

const DISPLAY_NAME: &str = "authrelay mail relay";

const DESCRIPTION: &str = "Lets IMAP, POP3 and SMTP applications that only know user name and password use mailboxes that require OAuth 2.0.";

/// Pauses before the first, second and later restarts after a failure.
const RESTARTS: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

/// Time without a failure after which the pauses begin again.
const RESET: Duration = Duration::from_secs(24 * 3600);

/// Longest time for a start, and for a stop including its drain.
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(180);

const LOOK: Duration = Duration::from_millis(200);

/// `ERROR_ACCESS_DENIED`, `ERROR_SERVICE_DOES_NOT_EXIST`, `ERROR_SERVICE_EXISTS`,
/// `ERROR_SERVICE_ALREADY_RUNNING`, `ERROR_SERVICE_NOT_ACTIVE`.
const DENIED: i32 = 5;
const DOES_NOT_EXIST: i32 = 1060;
const EXISTS: i32 = 1073;
const ALREADY_RUNNING: i32 = 1056;
const NOT_ACTIVE: i32 = 1062;

/// `ERROR_SERVICE_NEVER_STARTED`.
const NEVER_STARTED: u32 = 1077;

fn code(error: &windows_service::Error) -> Option<i32> {
    match error {
        windows_service::Error::Winapi(error) => error.raw_os_error(),
        _ => None,
    }
}

fn failed(error: windows_service::Error) -> ServiceError {
    match (code(&error), error) {
        (Some(DENIED), _) => ServiceError::Denied,
        (Some(DOES_NOT_EXIST), _) => ServiceError::NotInstalled,
        (_, windows_service::Error::Winapi(error)) => ServiceError::Other(error.to_string()),
        (_, error) => ServiceError::Other(error.to_string()),
    }
}

fn manager(access: ServiceManagerAccess) -> Result<ServiceManager, ServiceError> {
    ServiceManager::local_computer(None::<&OsStr>, access).map_err(failed)
}

fn open(access: ServiceAccess) -> Result<Service, ServiceError> {
    let manager = manager(ServiceManagerAccess::CONNECT)?;
    manager.open_service(NAME, access).map_err(failed)
}

pub(in super::super) fn install(config: &Path) -> Result<Vec<String>, ServiceError> {
    let other = |error: io::Error| ServiceError::Other(error.to_string());
    let config = std::path::absolute(config).map_err(other)?;
    let folder = own_folder(&config)?;
    let program = std::env::current_exe().map_err(other)?;
    let info = ServiceInfo {
        name: NAME.into(),
        display_name: DISPLAY_NAME.into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: program,
        launch_arguments: vec!["run".into(), "--config".into(), config.clone().into()],
        dependencies: vec![ServiceDependency::Service("Tcpip".into())],
        account_name: Some(ACCOUNT.into()),
        account_password: None,
    };
    let mut done = Vec::new();
    let manager = manager(ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE)?;
    let service = match manager.create_service(&info, ServiceAccess::ALL_ACCESS) {
        Ok(service) => {
            done.push(format!(
                "installed the service {NAME}, automatic start, account {ACCOUNT}"
            ));
            service
        }
        Err(error) if code(&error) == Some(EXISTS) => {
            let service = manager.open_service(NAME, ServiceAccess::ALL_ACCESS);
            let service = service.map_err(failed)?;
            service.change_config(&info).map_err(failed)?;
            done.push(format!("changed the service {NAME} that was installed"));
            service
        }
        Err(error) => return Err(failed(error)),
    };
    describe(&service, &mut done);
    access::make_services(folder).map_err(|error| {
        ServiceError::Other(format!(
            "{}: its access list cannot be set: {error}",
            folder.display()
        ))
    })?;
    done.push(format!(
        "{}: only for the service, SYSTEM and Administrators",
        folder.display()
    ));
    match events::register() {
        Ok(()) => done.push("events: Application, source authrelay".to_owned()),
        Err(error) => done.push(format!(
            "the event log source authrelay could not be registered: {error}"
        )),
    }
    Ok(done)
}

/// Returns the folder whose access list is set; it must not be a shared one.
fn own_folder(config: &Path) -> Result<&Path, ServiceError> {
    let wrong = |folder: &Path| {
        ServiceError::State(format!(
            "{}: the file must stand in a folder of its own, such as {}: only the service and administrators may read that then",
            folder.display(),
            super::host::configuration().display()
        ))
    };
    let folder = config.parent().unwrap_or(config);
    let is_shared = |variable: &str| {
        std::env::var_os(variable).is_some_and(|shared| {
            let shared = Path::new(&shared);
            shared.starts_with(folder)
        })
    };
    let shared = [
        "SystemRoot",
        "ProgramData",
        "ProgramFiles",
        "USERPROFILE",
        "PUBLIC",
    ];
    match folder.parent().is_none() || shared.into_iter().any(is_shared) {
        true => Err(wrong(folder)),
        false => Ok(folder),
    }
}

/// Sets restarts and description. Failures are only reported.
fn describe(service: &Service, done: &mut Vec<String>) {
    let restarts = RESTARTS.iter().map(|delay| ServiceAction {
        action_type: ServiceActionType::Restart,
        delay: *delay,
    });
    let actions = ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(RESET),
        reboot_msg: None,
        command: None,
        actions: Some(restarts.collect()),
    };
    let restarted = service
        .update_failure_actions(actions)
        .and_then(|()| service.set_failure_actions_on_non_crash_failures(true));
    match restarted {
        Ok(()) => done.push("restarts after a failure: 5, 30, then 60 seconds later".to_owned()),
        Err(error) => done.push(format!("no restart after a failure: {}", failed(error))),
    }
    let described = service
        .set_description(DESCRIPTION)
        .and_then(|()| service.set_preshutdown_timeout(STOP));
    if let Err(error) = described {
        tracing::debug!(error = %failed(error), "the service has no description");
    }
}

pub(in super::super) fn uninstall() -> Result<(), ServiceError> {
    let service = open(ServiceAccess::QUERY_STATUS | ServiceAccess::STOP | ServiceAccess::DELETE)?;
    end(&service)?;
    service.delete().map_err(failed)?;
    // Existing entries stay, without their source's message texts.
    let _ = events::unregister();
    Ok(())
}

pub(in super::super) fn start() -> Result<(), ServiceError> {
    let service = open(ServiceAccess::QUERY_STATUS | ServiceAccess::START)?;
    match service.start::<OsString>(&[]) {
        Err(error) if code(&error) == Some(ALREADY_RUNNING) => return Ok(()),
        started => started.map_err(failed)?,
    }
    let status = wait(&service, START, |state| state != ServiceState::StartPending)?;
    match status.current_state {
        ServiceState::Running => Ok(()),
        _ => Err(ServiceError::State(format!(
            "the service did not start: it is {}; the event log (Application, source authrelay) says why",
            state(&status)
        ))),
    }
}

pub(in super::super) fn stop() -> Result<(), ServiceError> {
    end(&open(ServiceAccess::QUERY_STATUS | ServiceAccess::STOP)?)
}

fn end(service: &Service) -> Result<(), ServiceError> {
    match service.stop() {
        Err(error) if code(&error) == Some(NOT_ACTIVE) => return Ok(()),
        stopped => stopped.map_err(failed)?,
    };
    let status = wait(service, STOP, |state| state == ServiceState::Stopped)?;
    match status.current_state {
        ServiceState::Stopped => Ok(()),
        _ => Err(ServiceError::State(format!(
            "the service does not stop: it is {}",
            state(&status)
        ))),
    }
}

/// Waits until `is_there` accepts the state, at most for `patience`. Returns the last state.
fn wait(
    service: &Service,
    patience: Duration,
    is_there: impl Fn(ServiceState) -> bool,
) -> Result<ServiceStatus, ServiceError> {
    let end = Instant::now() + patience;
    loop {
        let status = service.query_status().map_err(failed)?;
        if is_there(status.current_state) || Instant::now() >= end {
            return Ok(status);
        }
        std::thread::sleep(LOOK);
    }
}

pub(in super::super) fn status() -> Result<Status, ServiceError> {
    let service = open(ServiceAccess::QUERY_STATUS | ServiceAccess::QUERY_CONFIG)?;
    let status = service.query_status().map_err(failed)?;
    let config = service.query_config().map_err(failed)?;
    let account = config.account_name.unwrap_or_default();
    Ok(Status {
        is_running: status.current_state == ServiceState::Running,
        state: state(&status),
        process: status.process_id.filter(|id| *id != 0),
        command: config.executable_path.display().to_string(),
        account: account.display().to_string(),
        start: match config.start_type {
            ServiceStartType::AutoStart => "automatic",
            ServiceStartType::OnDemand => "manual",
            ServiceStartType::Disabled => "disabled",
            ServiceStartType::SystemStart | ServiceStartType::BootStart => "system",
        }
        .to_owned(),
    })
}

/// Describes the state, with the exit code of a stopped service.
fn state(status: &ServiceStatus) -> String {
    let name = match status.current_state {
        ServiceState::Running => "running",
        ServiceState::StartPending => "starting",
        ServiceState::StopPending => "stopping",
        ServiceState::Stopped => "stopped",
        ServiceState::Paused | ServiceState::PausePending | ServiceState::ContinuePending => {
            "paused"
        }
    };
    match (status.current_state, status.exit_code) {
        (ServiceState::Stopped, ServiceExitCode::ServiceSpecific(exit)) => {
            format!("{name} (exit code {exit})")
        }
        (ServiceState::Stopped, ServiceExitCode::Win32(NEVER_STARTED)) => {
            format!("{name} (never started)")
        }
        (ServiceState::Stopped, ServiceExitCode::Win32(error)) if error != 0 => {
            format!("{name} (error {error})")
        }
        _ => name.to_owned(),
    }
}
