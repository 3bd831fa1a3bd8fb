//! Windows host: name, sockets, paths.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use socket2::{SockRef, TcpKeepalive};
use winsafe::{FILETIME, HPROCESS};

use super::super::Usage;

/// Seconds from the beginning of Windows' times, 1601, to 1970.
const EPOCH: f64 = 11_644_473_600.0;

/// Handles that Windows gives one process at most.
const MOST_HANDLES: f64 = 16_777_216.0;

/// Default path `%ProgramData%\authrelay\proxy.yaml`.
pub(in super::super) fn configuration() -> PathBuf {
    let data = std::env::var_os("ProgramData")
        .map_or_else(|| PathBuf::from(r"C:\ProgramData"), PathBuf::from);
    data.join("authrelay").join("proxy.yaml")
}

/// Started without a shell, which would interpret `&` in the URL.
pub(in super::super) fn browser(url: &str) -> Option<Command> {
    let mut command = Command::new("rundll32.exe");
    command.args(["url.dll,FileProtocolHandler", url]);
    Some(command)
}

pub(in super::super) fn name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

/// Windows has no such limit.
pub(in super::super) fn raise_open_files() -> io::Result<()> {
    Ok(())
}

/// Windows writes no core files unless an administrator enables dumps for this program, and other
/// users cannot read a service's memory.
pub(in super::super) fn keep_memory_private() {}

/// Handles count as descriptors: sockets and files are among them.
pub(in super::super) fn usage() -> Option<Usage> {
    let process = HPROCESS::GetCurrentProcess();
    let (started, _, kernel, user) = process.GetProcessTimes().ok()?;
    let memory = process.GetProcessMemoryInfo().ok()?;
    let handles = process.GetProcessHandleCount().ok()?;
    Some(Usage {
        cpu: seconds(kernel) + seconds(user),
        started: seconds(started) - EPOCH,
        resident: memory.WorkingSetSize as f64,
        virtual_memory: memory.PagefileUsage as f64,
        descriptors: (f64::from(handles), MOST_HANDLES),
    })
}

/// A time in units of 100 ns.
fn seconds(time: FILETIME) -> f64 {
    u64::from(time) as f64 / 1e7
}

/// Windows allows a listener for one address beside one for all addresses.
pub(in super::super) fn share_port(_: SockRef<'_>, _: bool) -> io::Result<()> {
    Ok(())
}

pub(in super::super) fn reuse_address(_: SockRef<'_>) -> io::Result<()> {
    Ok(())
}

pub(in super::super) fn set_keepalive(
    socket: SockRef<'_>,
    keepalive: &TcpKeepalive,
) -> io::Result<()> {
    if let Err(error) = socket.set_tcp_keepalive(keepalive) {
        tracing::debug!(%error, "keepalive stays as the system has it");
        let _ = socket.set_keepalive(true);
    }
    Ok(())
}
