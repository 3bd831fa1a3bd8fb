"""What the tests share: the tree, child processes, the emulated mail service, clients."""

import imaplib
import json
import os
import pathlib
import poplib
import smtplib
import subprocess
import tempfile
import unittest

import yaml

from process import Child, until

TREE = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = TREE / "deploy"
DEB = pathlib.Path(os.environ["AUTHRELAY_DEB"])
STATIC = pathlib.Path(os.environ["AUTHRELAY_STATIC"])
SANDBOX = pathlib.Path(os.environ["AUTHRELAY_SANDBOX"])
NODE_MODULES = pathlib.Path(os.environ["NODE_MODULES"])
HELM = pathlib.Path(os.environ["HELM"])

PASSWORD = "local-password-5Kf3"


def run(*command, **options):
    """A command that must succeed; what it printed."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=300, check=False, **options
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def ports(relay, listeners):
    """Those of a relay with so many listeners and one for administrators, once it serves."""
    records = relay.wait_for(r'^\{.*"listening".*\}$', listeners)
    records = [json.loads(found[0]) for found in records]
    (admin,) = relay.wait_for(r'^\{.*"admin listening".*\}$')
    records.append({"listener": "admin", **json.loads(admin[0])})
    return {record["listener"]: int(record["address"].rpartition(":")[2]) for record in records}


class Emulation:
    """The mail service and the identity provider of `authrelay sandbox`, without its relay."""

    def __init__(self, folder):
        home = folder / "emulation"
        home.mkdir()
        ports = [word for name in ("imap", "pop3", "smtp", "admin") for word in (f"--{name}", "0")]
        self.child = Child("emulation", [SANDBOX, "sandbox", *ports], folder, env={"TMPDIR": str(home)})
        self.child.wait_for("^ready$")
        (file,) = home.glob("*/proxy.yaml")
        self.configuration = yaml.safe_load(file.read_text())
        self.ca = (file.parent / "ca.pem").read_bytes()
        (self.registration,) = self.configuration["registrations"].values()
        (self.account,) = self.configuration["accounts"]

    def fill(self, shipped, ca):
        """A configuration that was shipped, with its open places filled in for this service.

        `ca` is where the relay finds the service's CA. Listeners move to ports that the system
        picks.
        """
        configuration = yaml.safe_load(shipped)
        configuration["providers"] = {
            name: {**provider, "ca": ca} for name, provider in self.configuration["providers"].items()
        }
        (registration,) = configuration["registrations"].values()
        registration.update(tenant=self.registration["tenant"], client_id=self.registration["client_id"])
        (account,) = configuration["accounts"]
        account.update(login=self.account["login"], mailbox=self.account["mailbox"])
        for listener in configuration["listeners"]:
            listener["bind"] = "127.0.0.1:0"
        if "admin" in configuration:
            configuration["admin"]["bind"] = "127.0.0.1:0"
        return configuration

    def secrets(self, binary):
        """What stands in the files that shipped configurations name."""
        return {
            "helpdesk": self.registration["client_secret"],
            "tickets": run(binary, "hash-password", input=f"{PASSWORD}\n"),
            "state-key": "ab" * 32,
            "admin-token": "token-" + "cd" * 16,
        }

    def use(self, ports, tls=None):
        """Logs in and works by each protocol that `ports` names."""
        login = self.account["login"]
        if "imap" in ports:
            where = ("localhost", ports["imap"])
            imap = imaplib.IMAP4_SSL(*where, ssl_context=tls) if tls else imaplib.IMAP4(*where)
            imap.login(login, PASSWORD)
            status, (count,) = imap.select()
            assert status == "OK" and int(count) >= 3, (status, count)
            imap.logout()
        if "pop3" in ports:
            where = ("localhost", ports["pop3"])
            pop3 = poplib.POP3_SSL(*where, context=tls) if tls else poplib.POP3(*where)
            pop3.user(login)
            pop3.pass_(PASSWORD)
            assert pop3.stat()[0] >= 3
            pop3.quit()
        if "smtp" in ports:
            smtp = smtplib.SMTP("localhost", ports["smtp"])
            if tls:
                smtp.starttls(context=tls)
            smtp.login(login, PASSWORD)
            smtp.sendmail(self.account["mailbox"], ["someone@example.com"], "Subject: hello\r\n\r\nhello\r\n")
            smtp.quit()


class DeployTest(unittest.TestCase):
    """With a folder of its own."""

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="authrelay-deploy.")))

    def start(self, name, command, **options):
        child = Child(name, command, self.folder, **options)
        self.addCleanup(child.stop)
        return child

    def emulation(self):
        emulation = Emulation(self.folder)
        self.addCleanup(emulation.child.stop)
        return emulation
