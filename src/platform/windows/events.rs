//! Windows event log: Application, source `authrelay`.

use tracing_layer_win_eventlog::EventLogLayer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry;

use windows_registry::LOCAL_MACHINE;

use super::super::manager::Severity;
use super::name::NAME;

/// Event id of all entries. `EventCreate.exe`, the registered message file, defines 1 to 1000 with
/// the entry's own text.
const ID: u32 = 1;

/// Writes an entry; errors are ignored.
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

/// Registry key of the event sources.
const SOURCES: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application";

/// Registers the event source; requires an administrator.
pub(super) fn register() -> windows_registry::Result<()> {
    let source = LOCAL_MACHINE.create(format!(r"{SOURCES}\{NAME}"))?;
    source.set_expand_string("EventMessageFile", r"%SystemRoot%\System32\EventCreate.exe")?;
    // Errors, warnings and information.
    source.set_u32("TypesSupported", 7)
}

/// Removes the event source.
pub(super) fn unregister() -> windows_registry::Result<()> {
    LOCAL_MACHINE.create(SOURCES)?.remove_tree(NAME)
}
