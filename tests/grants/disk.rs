//! A disk with little room, for one test.

/// A state directory with little room.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Mounting takes root, as `tests/run` has it.
    pub fn mount() -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        let done = disk.run(
            "mount",
            &["-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs"],
        );
        assert!(done, "a small disk cannot be mounted: run as root");
        disk
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let status = std::process::Command::new(program)
            .args(arguments)
            .arg(self.0.path())
            .stderr(std::process::Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    }

    pub fn path(&self) -> &std::path::Path {
        self.0.path()
    }

    pub fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.0.path().join("ballast")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    pub fn free(&self) {
        let _ = std::fs::remove_file(self.0.path().join("ballast"));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.run("umount", &["-l"]);
    }
}
