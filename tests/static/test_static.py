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

    def assert_serves(self, *command, **options):
        """The sandbox relays by three protocols."""
        child = Child("sandbox", [*command, "sandbox", *PORTS], self.folder, **options)
        self.addCleanup(child.stop)
        child.wait_for("^ready")
        child.wait_for("status page")
        said = dict(line.split(None, 1) for line in child.lines() if re.match(r"(login|password|imap|pop3|smtp) ", line))
        user, address = f"{said['login']}:{said['password']}", said["login"]
        message = f"From: {address}\r\nTo: {address}\r\nSubject: hello\r\n\r\nIt works.\r\n"
        self.assertIn("Subject:", self.curl(user, f"imap://{said['imap']}/INBOX;MAILINDEX=1"))
        self.assertIn("Subject:", self.curl(user, f"pop3://{said['pop3']}/1"))
        self.curl(user, "--mail-from", address, "--mail-rcpt", address, "--upload-file", "-", f"smtp://{said['smtp']}", given=message)
        newest = self.curl(user, f"imap://{said['imap']}/INBOX?ALL").split()[-1]
        self.assertIn("It works.", self.curl(user, f"imap://{said['imap']}/INBOX;MAILINDEX={newest}"))
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
        (root / "tmp").mkdir(mode=0o700)
        self.assert_serves("chroot", root, "/authrelay")

    @unittest.skipIf(os.environ["AARCH64"] == "-", "no binary for ARM is given")
    def test_arm_relays(self):
        binary = os.environ["AARCH64"]
        self.assert_needs_no_library(binary)
        read = subprocess.run(["readelf", "--file-header", binary], capture_output=True, text=True)
        self.assertIn("AArch64", read.stdout)
        self.assert_serves("qemu-aarch64-static", binary)
