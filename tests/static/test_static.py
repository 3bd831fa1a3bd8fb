"""The static binaries do the main job: one in an empty folder that is its root, one for ARM under qemu."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from process import Child

PORTS = [word for name in ("imap", "pop3", "smtp", "admin") for word in (f"--{name}", "0")]


class StaticTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="authrelay-static."))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def assert_needs_no_library(self, binary):
        read = subprocess.run(["readelf", "--dynamic", "--program-headers", binary], capture_output=True, text=True)
        self.assertNotIn("NEEDED", read.stdout)
        self.assertNotIn("INTERP", read.stdout)

    def emulate(self, root):
        """Starts the mail service and configures a relay for it in `root`; its login and password."""
        home = self.folder / "emulation"
        home.mkdir()
        sandbox = Child("emulation", [os.environ["SANDBOX"], "sandbox", *PORTS], self.folder, env={"TMPDIR": str(home)})
        self.addCleanup(sandbox.stop)
        sandbox.wait_for("^ready")
        # Its relay's own configuration, of listeners on ports that the system picks.
        (file,) = home.glob("*/proxy.yaml")
        for name in ("proxy.yaml", "ca.pem"):
            shutil.copy(file.with_name(name), root)
        said = dict(line.split(None, 1) for line in sandbox.lines() if re.match(r"(login|password) ", line))
        return said["login"], said["password"]

    def assert_serves(self, login, password, *command):
        """The relay serves by three protocols."""
        child = Child("relay", command, self.folder)
        self.addCleanup(child.stop)
        found = child.wait_for(r'"listening".*"protocol":"(\w+)".*"address":"(127\.0\.0\.1:\d+)"', 3)
        at = dict(match.groups() for match in found)
        user = f"{login}:{password}"
        message = f"From: {login}\r\nTo: {login}\r\nSubject: hello\r\n\r\nIt works.\r\n"
        self.assertIn("Subject:", self.curl(user, f"imap://{at['imap']}/INBOX;MAILINDEX=1"))
        self.assertIn("Subject:", self.curl(user, f"pop3://{at['pop3']}/1"))
        self.curl(user, "--mail-from", login, "--mail-rcpt", login, "--upload-file", "-", f"smtp://{at['smtp']}", given=message)
        newest = self.curl(user, f"imap://{at['imap']}/INBOX?ALL").split()[-1]
        self.assertIn("It works.", self.curl(user, f"imap://{at['imap']}/INBOX;MAILINDEX={newest}"))
        self.assertEqual(child.stop(), 0, child.log.read_text()[-2000:])

    def curl(self, user, *arguments, given=None):
        done = subprocess.run(
            ["curl", "--silent", "--show-error", "--max-time", "60", "--user", user, *arguments],
            input=given, capture_output=True, text=True, timeout=90,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    @unittest.skipIf(os.environ["STATIC"] == "-", "no static binary is given")
    def test_an_empty_folder_is_enough(self):
        self.assert_needs_no_library(os.environ["STATIC"])
        root = self.folder / "root"
        root.mkdir()
        shutil.copy(os.environ["STATIC"], root / "authrelay")
        # Names are looked up as everywhere: by /etc/hosts and /etc/resolv.conf.
        (root / "etc").mkdir()
        (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
        user = self.emulate(root)
        self.assert_serves(*user, "chroot", root, "/authrelay", "run", "--config", "/proxy.yaml")

    @unittest.skipIf(os.environ["AARCH64"] == "-", "no binary for ARM is given")
    def test_arm_relays(self):
        binary = os.environ["AARCH64"]
        self.assert_needs_no_library(binary)
        read = subprocess.run(["readelf", "--file-header", binary], capture_output=True, text=True)
        self.assertIn("AArch64", read.stdout)
        user = self.emulate(self.folder)
        self.assert_serves(*user, "qemu-aarch64-static", binary, "run", "--config", self.folder / "proxy.yaml")
