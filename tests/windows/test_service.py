"""The service, as far as Wine's service manager goes: installed, started, asked, reloaded, drained,
removed."""

import imaplib
import shutil
import subprocess

from process import until
from world import FOLDER, LINUX, PROGRAM, WindowsTest, curl, windows_path, wine


class ServiceTest(WindowsTest):
    def setUp(self):
        super().setUp()
        # Where programs are.
        folder = self.folder.parent / "Program Files"
        folder.mkdir(exist_ok=True)
        for name in ("authrelay.exe", "bcryptprimitives.dll"):
            shutil.copy(PROGRAM.with_name(name), folder / name)
        self.program = windows_path(folder / "authrelay.exe")
        self.addCleanup(lambda: wine(self.program, "service", "uninstall"))

    def service(self, *arguments, code=0):
        done = wine(self.program, "service", *arguments, seconds=240)
        self.assertEqual(done.returncode, code, f"{arguments}: {done.stdout}\n{done.stderr}")
        return done.stdout + done.stderr

    def test_from_install_to_uninstall(self):
        sandbox = self.sandbox()
        ports = self.configure(sandbox)
        self.assertIn("is not installed", self.service("status", code=1))
        self.assertIn("is not installed", self.service("start", code=1))
        self.assertIn("no such file", self.service("install", "--config", "C:\\none\\proxy.yaml", code=78))
        said = self.service("install", "--config", self.config())
        self.assertIn("account NT SERVICE\\authrelay", said)
        self.assertIn("only for the service, SYSTEM and Administrators", said)
        # Again: another program, another file.
        self.assertIn("changed the service", self.service("install", "--config", self.config()))
        status = self.service("status", code=1)
        self.assertIn("stopped (never started)", status)
        self.assertIn("automatic", status)
        self.assertIn(self.config(), status)
        self.service("start")
        self.assertIn("running, process", self.service("status"))
        self.assertIn("Subject:", curl(f"imap://127.0.0.1:{ports['imap']}/INBOX;MAILINDEX=1", sandbox))
        self.assertEqual(self.service("start").strip(), "running")
        # A parameter change reloads; a broken file changes nothing.
        before = len(self.records("configuration reloaded"))
        self.control()
        until(lambda: len(self.records("configuration reloaded")) > before, "the reload")
        path = self.folder / "proxy.yaml"
        good = path.read_bytes()
        path.write_bytes(good + b"nonsense: 1\r\n")
        self.control()
        until(lambda: self.records("configuration not reloaded: the old one stays in force"), "the refusal")
        path.write_bytes(good)
        # A stop drains.
        client = imaplib.IMAP4("127.0.0.1", ports["imap"], timeout=30)
        client.login(sandbox.login, sandbox.password)
        client.select("INBOX")
        self.assertEqual(self.service("stop").strip(), "stopped")
        self.assertTrue(client.readline().startswith(b"* BYE"))
        client.shutdown()
        self.assertTrue(self.records("stopped"))
        self.assertIn("stopped", self.service("status", code=1))
        # Started again it goes on; removed while it runs it stops first.
        self.service("start")
        self.assertIn("Subject:", curl(f"imap://127.0.0.1:{ports['imap']}/INBOX;MAILINDEX=1", sandbox))
        self.assertIn("configuration and state stay", self.service("uninstall"))
        self.assertIn("is not installed", self.service("status", code=1))
        self.assertTrue(path.exists())
        audit = self.folder / "audit" / "audit.jsonl"
        verified = subprocess.run([LINUX, "audit", "verify", audit], capture_output=True, text=True)
        self.assertEqual(verified.returncode, 0, verified.stderr)

    def test_a_service_that_cannot_serve_says_so(self):
        sandbox = self.sandbox()
        self.configure(sandbox)
        self.service("install", "--config", self.config())
        path = self.folder / "proxy.yaml"
        path.write_bytes(path.read_bytes() + b"nonsense: 1\r\n")
        said = self.service("start", code=1)
        self.assertIn("did not start: it is stopped (exit code 78)", said)
        self.assertIn("event log", said)

    def test_a_folder_that_others_need_is_not_closed_to_them(self):
        path = self.folder.parent.parent / "proxy.yaml"
        path.write_text("listeners: []\n")
        self.addCleanup(path.unlink)
        said = self.service("install", "--config", windows_path(path), code=1)
        self.assertIn("a folder of its own", said)
        self.assertIn("is not installed", self.service("status", code=1))

    def control(self):
        done = wine(FOLDER / "bin" / "control.exe", "authrelay")
        self.assertEqual(done.returncode, 0, done.stdout)
