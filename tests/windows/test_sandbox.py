"""The first thing that a new user tries: `authrelay.exe sandbox`."""

import re
import tempfile
import types
from pathlib import Path

from process import Child
from world import FOLDER, PROGRAM, RelayProcess, WindowsTest, three_protocols


class SandboxTest(WindowsTest):
    def test_three_protocols_and_the_status_page(self):
        folder = Path(tempfile.mkdtemp(dir=FOLDER))
        ports = [word for name in ("imap", "pop3", "smtp", "admin") for word in (f"--{name}", "0")]
        child = Child("sandbox", ["wine64", PROGRAM, "sandbox", *ports], folder)
        process = RelayProcess(self, child)
        process.marker = "sandbox --imap"
        self.children.append(process)
        child.wait_for("^ready")
        child.wait_for("status page")
        said = {line.split()[0]: line.split()[1] for line in child.lines() if re.match(r"(login|password|imap|pop3|smtp) ", line)}
        access = types.SimpleNamespace(login=said["login"], password=said["password"])
        ports = {name: said[name].rpartition(":")[2] for name in ("imap", "pop3", "smtp")}
        three_protocols(self, ports, access)
