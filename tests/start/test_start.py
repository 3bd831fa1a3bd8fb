"""A new user's way: `init` asks, each question says where the answer stands, and what it writes serves. The
mail service is the sandbox's: its addresses are added to the file in the user's stead, as if the names of
Microsoft's led there."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from process import Child

AUTHRELAY = os.environ["AUTHRELAY"]


class Terminal:
    """A program on a pseudo-terminal that is its own."""

    def __init__(self, *command, cwd):
        self.screen = ""
        self.seen = 0
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.chdir(cwd)
            # A wide one, without a display.
            environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "TERM": "xterm", "COLUMNS": "200"}
            os.execve(command[0], [str(word) for word in command], environment)

    def answer(self, question, text, end="\n"):
        """Types `text` and `end` when `question` (a regular expression) has been asked; what stood there."""
        until = time.monotonic() + 60
        while not (found := re.search(question, self.screen[self.seen :])):
            assert time.monotonic() < until, f"{question!r} is not asked:\n{self.screen}"
            if not self.read():
                raise AssertionError(f"{question!r} is not asked before the end:\n{self.screen}")
        said = self.screen[self.seen : self.seen + found.end()]
        self.seen += found.end()
        os.write(self.terminal, (text + end).encode())
        return said

    def read(self):
        if not select.select([self.terminal], [], [], 1)[0]:
            return True
        try:
            octets = os.read(self.terminal, 65536)
        except OSError:
            return False
        self.screen += octets.decode(errors="replace").replace("\r\n", "\n")
        return bool(octets)

    def end(self):
        """Its exit code, and everything that it said. It is killed if it waits for more."""
        until = time.monotonic() + 60
        while self.read():
            if time.monotonic() > until:
                os.kill(self.process, signal.SIGKILL)
        _, status = os.waitpid(self.process, 0)
        os.close(self.terminal)
        return os.waitstatus_to_exitcode(status), self.screen


class StartTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="authrelay-start."))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        world = self.folder / "world"
        world.mkdir()
        ports = [word for name in ("imap", "pop3", "smtp", "admin") for word in (f"--{name}", "0")]
        self.sandbox = Child("sandbox", [AUTHRELAY, "sandbox", *ports], world, env={**os.environ, "TMPDIR": str(world)})
        self.addCleanup(self.sandbox.stop)
        self.sandbox.wait_for("^ready$")
        (file,) = world.glob("*/proxy.yaml")
        text = file.read_text()
        self.yaml = text[text.index("providers:") : text.index("registrations:")].replace("ca.pem", str(file.with_name("ca.pem")))
        value = lambda key: re.search(rf'^ +{key}: "?([^"\n]+)"?$', text, re.MULTILINE)[1]
        self.tenant, self.client, self.secret = value("tenant"), value("client_id"), value("client_secret")
        self.mailbox = value("mailbox")
        self.home = self.folder / "home"
        self.home.mkdir()

    def command(self, *arguments, code=0):
        done = subprocess.run([AUTHRELAY, *arguments], cwd=self.home, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, code, f"{arguments}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def first_message(self, password, listeners=3, login=None):
        """What is left to do is what was said, and then the application reads and sends."""
        file = self.home / "proxy.yaml"
        text = file.read_text()
        for address in ("127.0.0.1:1143", "127.0.0.1:1110", "127.0.0.1:1587", "127.0.0.1:8025", "0.0.0.0:2525"):
            text = text.replace(address, "127.0.0.1:0")
        file.write_text(text + self.yaml)
        self.command("check")
        login = login or self.mailbox
        self.assertIn("ok", self.command("doctor", login))
        relay = Child("relay", [AUTHRELAY, "run"], self.folder, cwd=self.home)
        self.addCleanup(relay.stop)
        found = relay.wait_for(r'"listening".*"listener":"([\w-]+)".*"address":"127\.0\.0\.1:(\d+)"', listeners)
        ports = {match[1].split("-")[0]: match[2] for match in found}
        user = f"{login}:{password}"
        self.assertIn("Subject:", self.curl(user, f"imap://127.0.0.1:{ports['imap']}/INBOX;MAILINDEX=1"))
        message = f"From: {self.mailbox}\r\nTo: {self.mailbox}\r\nSubject: first\r\n\r\nIt works.\r\n"
        self.curl(
            user, "--mail-from", self.mailbox, "--mail-rcpt", self.mailbox, "--upload-file", "-",
            f"smtp://127.0.0.1:{ports['smtp']}", given=message,
        )
        if "devices" in ports:
            self.curl(
                None, "--mail-from", self.mailbox, "--mail-rcpt", self.mailbox, "--upload-file", "-",
                f"smtp://127.0.0.1:{ports['devices']}", given=message,
            )
        self.assertEqual(relay.stop(signal.SIGTERM), 0)

    def curl(self, user, *arguments, given=None):
        done = subprocess.run(
            ["curl", "--silent", "--show-error", "--max-time", "30", *(["--user", user] if user else []), *arguments],
            input=given, capture_output=True, text=True, timeout=60,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_questions_lead_from_an_empty_folder_to_the_first_message(self):
        terminal = Terminal(AUTHRELAY, "init", cwd=self.home)
        terminal.answer(r"Mail service .*\[microsoft365\]: ", "")
        terminal.answer(r"Grant .*\[client_credentials\]: ", "")
        said = terminal.answer(r"Tenant.*\): ", self.tenant)
        self.assertIn("entra.microsoft.com: Overview", said)
        said = terminal.answer(r"Application \(client\) id.*\): ", self.client)
        self.assertIn("App registrations", said)
        terminal.answer(r"Login.*: ", self.mailbox)
        terminal.answer(r"Shared mailbox.*: ", "")
        terminal.answer(r"Network of devices.*: ", "")
        said = terminal.answer(r"client secret's value.*\): ", self.secret)
        self.assertIn("Value, not Secret ID", said)
        terminal.answer(r"Check the file now\?.*: ", "")
        # There is no mail service of Microsoft's here.
        terminal.answer(r"Test the connection to the mailbox now\?.*: ", "no")
        code, screen = terminal.end()
        self.assertEqual(code, 0, screen)
        self.assertNotIn(self.secret, screen)
        self.assertIn("good: 3 listeners, 1 registration, 1 account", screen)
        self.assertEqual((self.home / "client-secret").stat().st_mode & 0o777, 0o600)
        self.first_message(re.search(rf"{re.escape(self.mailbox)}  (\S+)", screen)[1])

    def test_the_end_of_the_terminals_input_is_no_answer(self):
        # With a default, without one, and where an answer may be empty; Ctrl-D.
        answers = [
            (r"Mail service .*: ", ""), (r"Grant .*: ", ""), (r"Tenant.*: ", self.tenant),
            (r"Application \(client\) id.*: ", self.client), (r"Login.*: ", self.mailbox), (r"Shared mailbox.*: ", ""),
            (r"Network of devices.*: ", ""),
        ]
        for ends, (question, _) in enumerate(answers):
            with self.subTest(question=question):
                terminal = Terminal(AUTHRELAY, "init", cwd=self.home)
                for asked, text in answers[:ends]:
                    terminal.answer(asked, text)
                terminal.answer(question, "", end="\x04")
                code, screen = terminal.end()
                self.assertEqual(code, 64, screen)
                self.assertIn("the terminal's input ended before this was answered", screen)
                self.assertEqual(list(self.home.iterdir()), [])

    def test_options_alone_do_the_same(self):
        said = self.command("init", "--provider", "microsoft365", code=64)
        self.assertIn("--grant is missing", said)
        secret = self.folder / "secret"
        secret.write_text(self.secret + "\n")
        said = self.command(
            "init", "--provider", "microsoft365", "--grant", "client_credentials", "--tenant", self.tenant,
            "--client-id", self.client, "--login", self.mailbox, "--client-secret", str(secret),
        )
        self.first_message(re.search(rf"{re.escape(self.mailbox)}  (\S+)", said)[1])
        said = self.command("init", "--provider", "microsoft365", code=74)
        self.assertIn("never overwrites", said)

    def test_a_shared_mailbox_and_devices_without_a_login(self):
        secret = self.folder / "secret"
        secret.write_text(self.secret + "\n")
        said = self.command(
            "init", "--provider", "microsoft365", "--grant", "client_credentials", "--tenant", self.tenant,
            "--client-id", self.client, "--login", "helpdesk", "--mailbox", self.mailbox, "--devices", "127.0.0.0/8",
            "--client-secret", str(secret),
        )
        self.assertIn("port 2525, no login", said)
        text = (self.home / "proxy.yaml").read_text()
        self.assertIn(f'mailbox: "{self.mailbox}"', text)
        password = re.search(r"helpdesk  (\S+)", said)[1]
        self.first_message(password, listeners=4, login="helpdesk")
