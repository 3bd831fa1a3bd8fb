//! Landlock (Linux 5.13; TCP ports since 6.7), as far as the kernel has it.

use super::super::confinement::{Needs, Outcome};

/// Files that the resolver, the C library and the process's own metrics read. The resolver's files are replaced
/// while it runs, so that `/etc` is here as a whole; modes keep protecting what is in it.
pub(in super::super) const SYSTEM: [&str; 9] = [
    "/etc",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/proc",
    "/run/systemd/resolve",
    "/run/resolvconf",
];

/// Devices that any program may use.
#[cfg(target_os = "linux")]
const DEVICES: [&str; 3] = ["/dev/null", "/dev/random", "/dev/urandom"];

#[cfg(target_os = "linux")]
pub(in super::super) fn confine(needs: &Needs) -> Outcome {
    use landlock::{ABI, LandlockStatus, RulesetStatus};

    let status = match restrict(needs) {
        Ok(status) => status,
        Err(error) => return Outcome::Unconfined(error.to_string()),
    };
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => {
            Outcome::Unconfined("Landlock is disabled on this system".to_owned())
        }
        (RulesetStatus::NotEnforced, _) => {
            Outcome::Unconfined("the kernel has no Landlock".to_owned())
        }
        (_, LandlockStatus::Available { effective_abi, .. }) if effective_abi >= ABI::V4 => {
            Outcome::FilesAndPorts
        }
        _ => Outcome::Files,
    }
}

#[cfg(target_os = "linux")]
fn restrict(needs: &Needs) -> Result<landlock::RestrictionStatus, landlock::RulesetError> {
    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, NetPort, Ruleset, RulesetAttr as _,
        RulesetCreatedAttr as _, path_beneath_rules,
    };

    let all = AccessFs::from_all(ABI::V3);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    // No programs, no devices, no sockets.
    let write = read
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSym
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    let mut ruleset = Ruleset::default().handle_access(all)?;
    if needs.connect.is_some() {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    let ports = needs.connect.iter().flatten();
    let ports = ports.map(|port| Ok(NetPort::new(*port, AccessNet::ConnectTcp)));
    ruleset
        .create()?
        .add_rules(path_beneath_rules(SYSTEM, read))?
        .add_rules(path_beneath_rules(DEVICES, read | AccessFs::WriteFile))?
        .add_rules(path_beneath_rules(&needs.read, read))?
        .add_rules(path_beneath_rules(&needs.write, write))?
        .add_rules(ports.collect::<Vec<Result<NetPort, landlock::RulesetError>>>())?
        .restrict_self()
}

#[cfg(not(target_os = "linux"))]
pub(in super::super) fn confine(_: &Needs) -> Outcome {
    Outcome::Unconfined("this system has no Landlock".to_owned())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::fs;
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    /// A thread is confined alone.
    #[test]
    fn files_and_ports_beyond_the_needs_are_out_of_reach() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["read", "write", "outside"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("file"), "content").unwrap();
        }
        let link = path("read").join("link");
        std::os::unix::fs::symlink(path("outside").join("file"), &link).unwrap();
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [near, far] = listeners.each_ref().map(|l| l.local_addr().unwrap());
        let needs = Needs {
            read: [path("read")].into(),
            write: [path("write")].into(),
            connect: Some([near.port()].into()),
        };
        let outside = path("outside").join("file");
        let (read, write) = (path("read"), path("write"));
        let thread = std::thread::spawn(move || {
            let outcome = confine(&needs);
            if let Outcome::Unconfined(why) = &outcome {
                println!("not tried here: {why}");
                return;
            }
            let denied = |result: std::io::Result<()>| {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied);
            };
            assert_eq!(fs::read_to_string(read.join("file")).unwrap(), "content");
            denied(fs::read(&link).map(drop));
            denied(fs::read(&outside).map(drop));
            denied(fs::read_dir(outside.parent().unwrap()).map(drop));
            denied(fs::write(read.join("file"), "other"));
            fs::write(write.join("new"), "new").unwrap();
            fs::rename(write.join("new"), write.join("file")).unwrap();
            assert!(fs::read("/etc/hosts").is_ok());
            denied(std::process::Command::new("/bin/true").status().map(drop));
            if outcome == Outcome::FilesAndPorts {
                TcpStream::connect(near).unwrap();
                denied(TcpStream::connect(far).map(drop));
            }
        });
        thread.join().unwrap();
    }
}
