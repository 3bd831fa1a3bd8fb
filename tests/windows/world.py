"""authrelay.exe under Wine, and the mail service that it talks to: the sandbox of the Linux binary."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

from process import Child, until

FOLDER = Path(os.environ["WINDOWS_TEST_FOLDER"])
PREFIX = Path(os.environ["WINEPREFIX"])
DRIVE = PREFIX / "drive_c"
PROGRAM = FOLDER / "bin" / "authrelay.exe"
LINUX = os.environ["AUTHRELAY"]


def windows_path(path):
    """A path of the Linux side as Windows writes it: on C: where it is there, else on Z:."""
    path = Path(path)
    if path.is_relative_to(DRIVE):
        return "C:\\" + str(path.relative_to(DRIVE)).replace("/", "\\")
    return "Z:" + str(path).replace("/", "\\")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wine(*arguments, seconds=60, given=None, **options):
    """Runs a Windows program to its end."""
    return subprocess.run(
        ["wine64", *map(str, arguments)],
        input=given,
        capture_output=True,
        text=True,
        timeout=seconds,
        **options,
    )


def processes(marker):
    """Ids of the prefix's authrelay processes with `marker` in their command line: Wine's loader, which
    a signal would end alone, has the same one but for its first word."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        text = b" ".join(words)
        ours = f"WINEPREFIX={PREFIX}".encode() in environment
        if ours and marker.encode() in text and b"authrelay.exe" in words[0]:
            found.append(int(entry.name))
    return found


def small_disk(test, folder):
    """Mounts a disk of 64 KiB on a new folder, until the test ends. Gives the folder."""
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    folder.mkdir()
    options = f"size=64k,mode=0700,uid={os.geteuid()}"
    subprocess.run([*sudo, "mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    test.addCleanup(subprocess.run, [*sudo, "umount", "--lazy", folder], check=True)
    return folder


class Sandbox:
    """`authrelay sandbox` of the Linux binary: the emulated Microsoft 365 behind it, as `yaml` and
    `ca` of a relay of one's own."""

    def __init__(self, folder):
        folder.mkdir()
        environment = {**os.environ, "TMPDIR": str(folder)}
        ports = [word for name in ("imap", "pop3", "smtp", "admin") for word in (f"--{name}", "0")]
        self.child = Child("sandbox", [LINUX, "sandbox", *ports], folder, env=environment)
        self.child.wait_for(r"^ready$")
        (configuration,) = folder.glob("*/proxy.yaml")
        text = configuration.read_text()
        self.ca = configuration.with_name("ca.pem")
        start, end = text.index("providers:"), text.index("\nadmin:")
        self.yaml = text[start:end].replace("ca: ca.pem", "ca: 'certs\\ca.pem'")
        said = dict(line.split(None, 1) for line in self.child.lines() if re.match(r"(login|password) ", line))
        self.login, self.password = said["login"], said["password"]
        self.token_url = re.search(r'token_url: "(\S+?)\{tenant\}', text)[1]

    def stop(self):
        self.child.stop()


class WindowsTest(unittest.TestCase):
    """Has a folder of its own on drive C:, with blanks in its path."""

    def setUp(self):
        (DRIVE / "authrelay tests").mkdir(exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="relay ", dir=DRIVE / "authrelay tests"))
        self.children = []

    def tearDown(self):
        for child in self.children:
            child.stop()

    def authrelay(self, *arguments, code=0, **options):
        """Runs a command to its end; what it printed."""
        done = wine(PROGRAM, *arguments, **options)
        self.assertEqual(done.returncode, code, f"{arguments}: {done.stdout}\n{done.stderr}")
        return done.stdout + done.stderr

    def sandbox(self):
        sandbox = Sandbox(Path(tempfile.mkdtemp(dir=FOLDER)) / "sandbox")
        self.addCleanup(sandbox.stop)
        (self.folder / "certs").mkdir()
        shutil.copy(sandbox.ca, self.folder / "certs" / "ca.pem")
        return sandbox

    def configure(self, sandbox, general="", edit=lambda text: text):
        """Writes proxy.yaml as Notepad would: CRLF, and a byte order mark. Gives the ports."""
        ports = {name: free_port() for name in ("imap", "pop3", "smtp", "admin")}
        here = windows_path(self.folder)
        listeners = "".join(
            f"  - {{name: {name}, protocol: {name}, bind: '127.0.0.1:{ports[name]}'}}\n"
            for name in ("imap", "pop3", "smtp")
        )
        text = (
            f"log: {{format: json, level: debug, file: {here}\\authrelay.log}}\n"
            f"state: {{directory: '{here}\\state', key: {{file: .\\key\\state.key}}}}\n"
            f"audit: {{path: .\\audit\\audit.jsonl}}\n"
            f"admin: {{bind: '127.0.0.1:{ports['admin']}'}}\n"
            f"{general}listeners:\n{listeners}{sandbox.yaml}\n"
        )
        self.write(edit(text))
        return ports

    def write(self, text):
        path = self.folder / "proxy.yaml"
        path.write_bytes(("\ufeff" + text).replace("\n", "\r\n").encode())

    def config(self):
        return windows_path(self.folder / "proxy.yaml")

    def records(self, message=None, file="authrelay.log"):
        path = self.folder / file
        if not path.exists():
            return []
        lines = path.read_text(errors="replace").split("\n")[:-1]
        records = [json.loads(line) for line in lines]
        return [record for record in records if message in (None, record["message"])]

    def relay(self, *before):
        """`authrelay run`; ready when it listens."""
        count = len(self.records("admin listening"))
        child = Child(
            f"relay-{len(self.children)}",
            ["wine64", *before, PROGRAM, "run", "--config", self.config()],
            Path(tempfile.mkdtemp(dir=FOLDER)),
        )
        self.children.append(RelayProcess(self, child))
        until(lambda: child.process.poll() is not None or len(self.records("admin listening")) > count, "the relay listens")
        self.assertIsNone(child.process.poll(), child.log.read_text())
        return self.children[-1]


class RelayProcess:
    """A relay under Wine: ended by the program's own process id."""

    def __init__(self, test, child):
        self.child = child
        self.marker = windows_path(test.folder)

    def interrupt(self):
        for process in processes(self.marker):
            os.kill(process, signal.SIGINT)

    def kill(self):
        """Like the power cut of one process."""
        for process in processes(self.marker):
            os.kill(process, signal.SIGKILL)
        self.child.process.wait(20)

    def stop(self):
        if self.child.process.poll() is None:
            self.kill()


def curl(url, sandbox, *arguments, given=None):
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "30", "--user", f"{sandbox.login}:{sandbox.password}", *arguments, url],
        input=given,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, f"{url}: curl {done.returncode}: {done.stderr.decode()}"
    return done.stdout.decode()


def three_protocols(test, ports, sandbox):
    """Reads by IMAP and POP3, sends by SMTP, reads what was sent."""
    test.assertIn("Subject:", curl(f"imap://127.0.0.1:{ports['imap']}/INBOX;MAILINDEX=1", sandbox))
    test.assertIn("Subject:", curl(f"pop3://127.0.0.1:{ports['pop3']}/1", sandbox))
    address = sandbox.login
    message = f"From: {address}\r\nTo: {address}\r\nSubject: from Windows\r\n\r\nIt works.\r\n"
    curl(
        f"smtp://127.0.0.1:{ports['smtp']}", sandbox,
        "--mail-from", address, "--mail-rcpt", address, "--upload-file", "-", given=message.encode(),
    )
    listing = curl(f"imap://127.0.0.1:{ports['imap']}/INBOX?ALL", sandbox)
    newest = listing.split()[-1]
    text = curl(f"imap://127.0.0.1:{ports['imap']}/INBOX;MAILINDEX={newest}", sandbox)
    test.assertIn("It works.", text)
