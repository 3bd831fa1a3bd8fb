//! The event log: Application, source `authrelay`.

use tracing_layer_win_eventlog::EventLogLayer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry;

use windows_registry::LOCAL_MACHINE;

use super::super::manager::Severity;
use super::name::NAME;

/// The identifier of every entry. The message file that `service install` registers,
/// `EventCreate.exe`, has a text for 1 to 1000: the entry's own.
const ID: u32 = 1;

/// Writes one entry; where that fails there is nobody to tell.
pub(super) fn report(severity: Severity, text: &str) {
    let Ok(layer) = EventLogLayer::new_with_default_id(NAME, Some(ID)) else {
        return;
    };
    tracing::subscriber::with_default(registry().with(layer), || match severity {
        Severity::Information => tracing::info!("{text}"),
        Severity::Warning => tracing::warn!("{text}"),
        Severity::Error => tracing::error!("{text}"),
    });
}

/// Where sources are registered.
const SOURCES: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application";

/// Registers the source; needs an administrator.
pub(super) fn register() -> windows_registry::Result<()> {
    let source = LOCAL_MACHINE.create(format!(r"{SOURCES}\{NAME}"))?;
    source.set_expand_string("EventMessageFile", r"%SystemRoot%\System32\EventCreate.exe")?;
    // Errors, warnings, information.
    source.set_u32("TypesSupported", 7)
}

/// Removes the source.
pub(super) fn unregister() -> windows_registry::Result<()> {
    LOCAL_MACHINE.create(SOURCES)?.remove_tree(NAME)
}
