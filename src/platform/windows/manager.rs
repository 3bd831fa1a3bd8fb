//! Windows service control manager and console.

use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
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

/// Wait hint for the manager during start and stop; longer than a drain.
const PATIENCE: Duration = Duration::from_secs(90);

/// Longest wait for the manager to say whether it started this process. Windows answers at once if
/// it did not. A later answer is still accepted.
const ANSWER: Duration = Duration::from_secs(1);

/// The service of this process.
struct Service {
    status: OnceLock<ServiceStatusHandle>,
    stop: CancellationToken,
    reload: Notify,
    /// State and exit code reported to the manager.
    state: Mutex<(ServiceState, u8)>,
    changed: Condvar,
    /// Whether the manager has answered.
    answered: Mutex<bool>,
    answer: Condvar,
}

static SERVICE: OnceLock<Service> = OnceLock::new();

fn service() -> &'static Service {
    SERVICE.get_or_init(|| Service {
        status: OnceLock::new(),
        stop: CancellationToken::new(),
        reload: Notify::new(),
        state: Mutex::new((ServiceState::StartPending, 0)),
        changed: Condvar::new(),
        answered: Mutex::new(false),
        answer: Condvar::new(),
    })
}

/// The macro expands to an `unsafe` block that reads the arguments of the service's main function.
#[allow(unsafe_code)]
mod entry {
    windows_service::define_windows_service!(service_main, main);

    fn main(_: Vec<std::ffi::OsString>) {
        super::answer_manager();
    }

    pub(super) fn dispatch() -> windows_service::Result<()> {
        windows_service::service_dispatcher::start(super::NAME, service_main)
    }
}

/// Runs the dispatcher on its own thread. It fails if the process was not started by the service
/// manager (`ERROR_FAILED_SERVICE_CONTROLLER_CONNECT`), and calls the service's main function
/// otherwise.
pub(in super::super) fn run(serve: impl FnOnce() -> u8 + Send + 'static) -> u8 {
    std::thread::spawn(|| {
        if entry::dispatch().is_err() {
            on_answer();
        }
    });
    let answered = lock(&service().answered);
    let waited = service()
        .answer
        .wait_timeout_while(answered, ANSWER, |answered| !*answered);
    drop(waited);
    let exit = serve();
    set(ServiceState::Stopped, exit);
    exit
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn on_answer() {
    *lock(&service().answered) = true;
    service().answer.notify_all();
}

/// Main function of the service, on a thread of the dispatcher: reports the state until the service
/// has stopped.
fn answer_manager() {
    let service = service();
    let Ok(status) = service_control_handler::register(NAME, on_control) else {
        return on_answer();
    };
    let mut state = lock(&service.state);
    let _ = service.status.set(status);
    tell(state.0, state.1);
    on_answer();
    while state.0 != ServiceState::Stopped {
        state = service
            .changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

/// Handles a control; runs on the manager's thread and must not block.
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

fn set(state: ServiceState, exit: u8) {
    *lock(&service().state) = (state, exit);
    tell(state, exit);
    service().changed.notify_all();
}

/// Reports the state to the manager, if this is a service.
fn tell(state: ServiceState, exit: u8) {
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
    let reported = status.set_service_status(ServiceStatus {
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
    if let Err(error) = reported {
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
    // A reload that ends while the service stops must not report it as running.
    let is_starting = lock(&service().state).0 == ServiceState::StartPending;
    if is_starting && !service().stop.is_cancelled() {
        set(ServiceState::Running, 0);
    }
}

/// The service stays running during a reload.
pub(in super::super) fn reloading() {}

pub(in super::super) fn stopping() {
    set(ServiceState::StopPending, 0);
}

/// Windows' manager has no watchdog.
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
