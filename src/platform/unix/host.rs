//! Unix host: name, limits, sockets, resource usage.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use socket2::{SockRef, TcpKeepalive};

use super::super::Usage;

pub(in super::super) fn configuration() -> PathBuf {
    PathBuf::from("/etc/authrelay/proxy.yaml")
}

pub(in super::super) fn browser(url: &str) -> Option<Command> {
    let mut displays = ["DISPLAY", "WAYLAND_DISPLAY"].iter();
    let has_display =
        displays.any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    let mut command = Command::new("xdg-open");
    command.arg(url);
    has_display.then_some(command)
}

pub(in super::super) fn name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Raises the soft limit, which is often 1,024.
pub(in super::super) fn raise_open_files() -> io::Result<()> {
    rlimit::increase_nofile_limit(rlimit::INFINITY).map(|_| ())
}

/// Disables core files and access to the memory except for root. From then on `/proc/self` belongs
/// to root.
pub(in super::super) fn keep_memory_private() {
    if let Err(error) = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0) {
        tracing::warn!(%error, "a crash may write secrets into a core file");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        tracing::warn!(%error, "other processes of this user can read this one's memory");
    }
}

#[cfg(target_os = "linux")]
pub(in super::super) fn usage() -> Option<Usage> {
    let process = procfs::process::Process::myself().ok()?;
    let stat = process.stat().ok()?;
    let ticks = procfs::ticks_per_second() as f64;
    let booted = procfs::boot_time_secs().ok()? as f64;
    let most = match process.limits().ok()?.max_open_files.soft_limit {
        procfs::process::LimitValue::Value(most) => most as f64,
        procfs::process::LimitValue::Unlimited => f64::INFINITY,
    };
    Some(Usage {
        cpu: (stat.utime + stat.stime) as f64 / ticks,
        started: booted + stat.starttime as f64 / ticks,
        resident: (stat.rss * procfs::page_size()) as f64,
        virtual_memory: stat.vsize as f64,
        descriptors: (process.fd_count().ok()? as f64, most),
    })
}

#[cfg(not(target_os = "linux"))]
pub(in super::super) fn usage() -> Option<Usage> {
    None
}

pub(in super::super) fn share_port(socket: SockRef<'_>, shared: bool) -> io::Result<()> {
    socket.set_reuse_port(shared)
}

pub(in super::super) fn reuse_address(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_reuse_address(true)
}

pub(in super::super) fn set_keepalive(
    socket: SockRef<'_>,
    keepalive: &TcpKeepalive,
) -> io::Result<()> {
    socket.set_tcp_keepalive(keepalive)
}
