//! The service control manager, and the console.

use std::ffi::OsString;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::signal::windows;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{
    self, ServiceControlHandlerResult, ServiceStatusHandle,
};

use super::super::manager::Severity;
use super::name::NAME;

/// How long the manager waits for the next sign of life while the service starts or stops: longer
/// than a drain.
const PATIENCE: Duration = Duration::from_secs(90);

/// The one service of this process.
struct Service {
    status: OnceLock<ServiceStatusHandle>,
    stop: CancellationToken,
    reload: Notify,
    serve: Mutex<Option<Box<dyn FnOnce() -> u8 + Send>>>,
    exit: OnceLock<u8>,
}

static SERVICE: OnceLock<Service> = OnceLock::new();

fn service() -> &'static Service {
    SERVICE.get_or_init(|| Service {
        status: OnceLock::new(),
        stop: CancellationToken::new(),
        reload: Notify::new(),
        serve: Mutex::new(None),
        exit: OnceLock::new(),
    })
}

/// What the macro expands to holds an `unsafe` block: it reads the arguments of the service's main
/// function.
#[allow(unsafe_code)]
mod entry {
    windows_service::define_windows_service!(service_main, main);

    fn main(arguments: Vec<std::ffi::OsString>) {
        super::main(&arguments);
    }

    pub(super) fn dispatch() -> windows_service::Result<()> {
        windows_service::service_dispatcher::start(super::NAME, service_main)
    }
}

/// The dispatcher refuses at once where the process was not started by the service manager
/// (`ERROR_FAILED_SERVICE_CONTROLLER_CONNECT`).
pub(in super::super) fn run(serve: impl FnOnce() -> u8 + Send + 'static) -> u8 {
    let service = service();
    *lock(&service.serve) = Some(Box::new(serve));
    if entry::dispatch().is_ok() {
        return service.exit.get().copied().unwrap_or(1);
    }
    match lock(&service.serve).take() {
        Some(serve) => serve(),
        None => 1,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The service's main function, on a thread of the dispatcher's.
fn main(_: &[OsString]) {
    let service = service();
    let Ok(status) = service_control_handler::register(NAME, on_control) else {
        return;
    };
    let _ = service.status.set(status);
    set(ServiceState::StartPending, 0);
    let serve = lock(&service.serve).take();
    let exit = serve.map_or(1, |serve| serve());
    let _ = service.exit.set(exit);
    set(ServiceState::Stopped, exit);
}

/// Answers the manager; on its thread, so at once.
fn on_control(control: ServiceControl) -> ServiceControlHandlerResult {
    let service = service();
    match control {
        ServiceControl::Stop | ServiceControl::Shutdown | ServiceControl::Preshutdown => {
            stopping();
            service.stop.cancel();
        }
        ServiceControl::ParamChange => service.reload.notify_one(),
        ServiceControl::Interrogate => {}
        _ => return ServiceControlHandlerResult::NotImplemented,
    }
    ServiceControlHandlerResult::NoError
}

/// Tells the manager; nothing where this is no service.
fn set(state: ServiceState, exit: u8) {
    let Some(status) = service().status.get() else {
        return;
    };
    let pending = matches!(
        state,
        ServiceState::StartPending | ServiceState::StopPending
    );
    let controls_accepted = match state {
        ServiceState::Running => {
            ServiceControlAccept::STOP
                | ServiceControlAccept::PRESHUTDOWN
                | ServiceControlAccept::PARAM_CHANGE
        }
        _ => ServiceControlAccept::empty(),
    };
    let told = status.set_service_status(ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted,
        exit_code: match exit {
            0 => ServiceExitCode::NO_ERROR,
            exit => ServiceExitCode::ServiceSpecific(exit.into()),
        },
        checkpoint: u32::from(pending),
        wait_hint: if pending { PATIENCE } else { Duration::ZERO },
        process_id: None,
    });
    if let Err(error) = told {
        tracing::debug!(%error, "the service manager does not listen");
    }
}

pub(in super::super) async fn stop_requested() {
    let (Ok(mut c), Ok(mut r#break), Ok(mut close), Ok(mut shutdown)) = (
        windows::ctrl_c(),
        windows::ctrl_break(),
        windows::ctrl_close(),
        windows::ctrl_shutdown(),
    ) else {
        return service().stop.cancelled().await;
    };
    tokio::select! {
        () = service().stop.cancelled() => {}
        _ = c.recv() => {}
        _ = r#break.recv() => {}
        _ = close.recv() => {}
        _ = shutdown.recv() => {}
    }
}

pub(in super::super) struct ReloadRequests(());

impl ReloadRequests {
    pub(in super::super) fn new() -> Option<Self> {
        Some(Self(()))
    }

    pub(in super::super) async fn next(&mut self) -> Option<()> {
        service().reload.notified().await;
        Some(())
    }
}

pub(in super::super) fn outlive_file_limits() {}

pub(in super::super) fn ready() {
    // A reload that ends while the service stops must not take that back.
    if !service().stop.is_cancelled() {
        set(ServiceState::Running, 0);
    }
}

/// The service runs on while it reloads.
pub(in super::super) fn reloading() {}

pub(in super::super) fn stopping() {
    set(ServiceState::StopPending, 0);
}

/// The manager of Windows asks for no signs of life.
pub(in super::super) async fn watchdog() {}

/// Whether this process was started by the service manager.
pub(in super::super) fn is_service() -> bool {
    service().status.get().is_some()
}

pub(in super::super) fn report(severity: Severity, text: &str) {
    if is_service() {
        super::events::report(severity, text);
    }
}
