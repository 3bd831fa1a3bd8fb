"""What deploy/windows/build made: the zip, and the MSI under Wine's msiexec."""

import os
import shutil
import subprocess
import unittest
import zipfile
from pathlib import Path

from world import DRIVE, FOLDER, WindowsTest, windows_path, wine

INSTALLED = DRIVE / "Program Files" / "authrelay"
NAMES = {"authrelay.exe", "windows.md", "README.md", "LICENSE.txt", "THIRD-PARTY-LICENSES.txt", "proxy.example.yaml", "status.url"}


@unittest.skipUnless("MSI" in os.environ, "MSI is not set")
class PackageTest(WindowsTest):
    def setUp(self):
        super().setUp()
        self.msi = Path(os.environ["MSI"])
        # For Wine alone: see bcryptprimitives.c.
        shutil.copy(FOLDER / "bin" / "bcryptprimitives.dll", DRIVE / "windows" / "system32")

    def test_the_zip_holds_the_program_and_its_papers(self):
        with zipfile.ZipFile(self.msi.with_suffix(".zip")) as archive:
            self.assertEqual({Path(name).name for name in archive.namelist()}, NAMES)
            archive.extractall(self.folder)
        (program,) = self.folder.glob("*/authrelay.exe")
        self.assertIn("authrelay ", wine(windows_path(program), "--version").stdout)
        # The example is a good one, but for the secrets that it names.
        example = program.with_name("proxy.example.yaml")
        done = wine(windows_path(program), "check", "--no-secrets", "--config", windows_path(example))
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_msi_is_installed_and_removed(self):
        name = windows_path(self.msi)
        done = wine("msiexec", "/i", name, "/qn", seconds=180)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual({path.name for path in INSTALLED.iterdir()}, NAMES)
        links = [path.name for path in DRIVE.rglob("authrelay*.lnk")]
        self.assertEqual(sorted(links), ["authrelay on Windows.lnk", "authrelay status page.lnk"])
        program = windows_path(INSTALLED / "authrelay.exe")
        status = wine(program, "service", "status")
        self.assertIn("stopped", status.stdout, status.stderr)
        self.assertIn("authrelay.exe", status.stdout)
        source = wine(
            "reg", "query", "HKLM\\SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\authrelay", "/v", "EventMessageFile"
        )
        self.assertIn("EventCreate.exe", source.stdout)
        done = wine("msiexec", "/x", name, "/qn", seconds=180)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertFalse(INSTALLED.exists() and any(INSTALLED.iterdir()), "something is left")
        self.assertEqual([*DRIVE.rglob("authrelay*.lnk")], [])
