"""What others make of authrelay's records: rsyslog and logrotate of audit records, fail2ban of the
log."""

import imaplib
import json
import shutil
import subprocess
from pathlib import Path

from case import PASSWORD, PeerTest
from process import until
from syslog_server import Rsyslog

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"


def refuse(host, port, login):
    imap = imaplib.IMAP4(host, port, timeout=30)
    try:
        imap.authenticate("PLAIN", lambda _: f"\0{login}\0wrong".encode())
        raise AssertionError("let in")
    except imaplib.IMAP4.error:
        pass
    finally:
        imap.shutdown()


class Syslog(PeerTest):
    """Requirement 42: what arrives is the chain itself."""

    def arrives(self, transport):
        mailbox = self.world.mailbox()
        with Rsyslog(transport, self.folder, self.world.certs) as server:
            host = "127.0.0.1" if transport == "udp" else "localhost"
            syslog = {"address": f"{host}:{server.port}", "transport": transport}
            if transport == "tls":
                syslog["ca"] = str(self.ca)
            configuration = {
                **self.world.configuration(),
                "audit": {"path": "audit.jsonl", "syslog": syslog},
            }
            name = f"syslog-{transport}"
            with self.world.start(name, configuration) as proxy:
                port = proxy.ports["imap-none"]
                for number in range(5):
                    refuse("localhost", port, f"nobody{number}")
                imap = imaplib.IMAP4("localhost", port, timeout=30)
                imap.login(mailbox.address, PASSWORD)
                imap.logout()
                until(lambda: len(proxy.records("session")) == 6, "six sessions")
            audit = self.world.folder / name / "audit.jsonl"
            written = audit.read_text()
            self.assertEqual(len(written.splitlines()), 12)
            until(lambda: len(server.messages()) >= len(written), "all records in rsyslog")
            self.assertEqual(server.messages(), written)
            heads = [head for head in server.heads() if head.startswith("authrelay ")]
        self.assertEqual(heads.count("authrelay authpriv warning login"), 5)
        self.assertEqual(heads.count("authrelay authpriv info session"), 1)
        copy = self.file("arrived.jsonl", server.messages())
        head = json.loads(written.splitlines()[-1])["hash"]
        self.world.binary("audit", "verify", copy, "--head", head)

    def test_r42_udp(self):
        self.arrives("udp")

    def test_r42_tcp(self):
        self.arrives("tcp")

    def test_r42_tls(self):
        self.arrives("tls")

    def test_a_server_with_a_wrong_certificate_gets_nothing(self):
        with Rsyslog("tls", self.folder, self.world.certs) as server:
            syslog = {"address": f"localhost:{server.port}", "transport": "tls"}
            configuration = {**self.world.configuration(), "audit": {"syslog": syslog}}
            with self.world.start("syslog-distrusted", configuration) as proxy:
                refuse("localhost", proxy.ports["imap-none"], "nobody")
                proxy.child.wait_for("syslog cannot be reached")
            self.assertNotIn("nobody", server.messages())


class Logrotate(PeerTest):
    """The shipped configuration, with paths of this test and without systemd."""

    def test_r42_the_chain_goes_on(self):
        configuration = {**self.world.configuration(), "audit": {"path": "audit.jsonl"}}
        with self.world.start("logrotate", configuration) as proxy:
            audit = self.world.folder / "logrotate" / "audit.jsonl"
            text = (DEPLOY / "logrotate/authrelay").read_text()
            systemctl = next(line for line in text.splitlines() if "systemctl" in line)
            text = text.replace("/var/lib/authrelay/audit.jsonl", str(audit))
            text = text.replace(systemctl, f"kill -HUP {proxy.child.process.pid}")
            rules = self.file("rules", text)
            refuse("localhost", proxy.ports["imap-none"], "first")
            until(lambda: audit.read_text().count("\n") == 2, "the first records")
            self.client("/usr/sbin/logrotate", "--state", self.folder / "status", "--force", rules)
            proxy.child.wait_for('"why":"reopened"')
            refuse("localhost", proxy.ports["imap-none"], "second")
        rotated = [path for path in audit.parent.glob("audit.jsonl-*")]
        self.assertEqual(len(rotated), 1)
        self.assertEqual((audit.stat().st_mode & 0o777, audit.read_text().count("\n")), (0o600, 2))
        self.world.binary("audit", "verify", rotated[0], audit)


class Fail2Ban(PeerTest):
    """The shipped filter, on what authrelay really logs."""

    def finds(self, log_format):
        configuration = self.world.configuration()
        configuration["log"] = {"format": "json", "level": "info"}
        configuration["listeners"].append(
            {"name": "v6", "protocol": "imap", "bind": "[::1]:0", "provider": "implicit"}
        )
        name = f"fail2ban-{log_format}"
        mailbox = self.world.mailbox()
        # Which ports the system picked is to be read in JSON alone: it is asked for text later.
        with self.world.start(name, configuration) as proxy:
            ports = dict(proxy.ports)
        configuration["log"]["format"] = log_format
        for listener in configuration["listeners"]:
            host = listener["bind"].rpartition(":")[0]
            listener["bind"] = f"{host}:{ports[listener['name']]}"
        file = self.file("proxy.yaml", json.dumps(configuration))
        log = self.folder / "log"
        with open(log, "wb") as stderr:
            child = subprocess.Popen([self.world.binary.path, "run", "--config", file], stderr=stderr)
        try:
            until(lambda: log.read_text().count("listening") == len(ports), "listeners")
            # Whoever is refused may try to be somebody else in the log.
            forged = 'x" client=192.0.2.1:1 fault=client: credentials \\'
            refuse("127.0.0.1", ports["imap-none"], "nobody")
            refuse("::1", ports["v6"], mailbox.address)
            refuse("127.0.0.1", ports["imap-none"], forged)
            imap = imaplib.IMAP4("localhost", ports["imap-none"], timeout=30)
            imap.login(mailbox.address, PASSWORD)
            imap.logout()
        finally:
            child.terminate()
            child.wait(30)
        self.assertIn("192.0.2.1", log.read_text())
        conf = DEPLOY / "fail2ban/filter.d/authrelay.conf"
        # As in a file, and as journald hands it over.
        lines = [f"Nov 25 14:42:07 host authrelay[7]: {line}\n" for line in log.read_text().splitlines()]
        journal = self.file("journal", "".join(lines))
        for file in (log, journal):
            found = self.client("fail2ban-regex", "-o", "ip", file, conf).stdout.decode().split()
            self.assertEqual(found, ["127.0.0.1", "::1", "127.0.0.1"], file.read_text())

    def test_text(self):
        self.finds("text")

    def test_json(self):
        self.finds("json")

    def test_the_jail_is_read(self):
        folder = self.folder / "fail2ban"
        shutil.copytree("/etc/fail2ban", folder)
        for name in ("filter.d", "jail.d"):
            shutil.copy(DEPLOY / "fail2ban" / name / "authrelay.conf", folder / name / "authrelay.conf")
        dump = self.client("fail2ban-client", "-c", folder, "-d").stdout.decode()
        self.assertIn("['add', 'authrelay', 'systemd']", dump)
        self.assertIn("['set', 'authrelay', 'maxretry', 5]", dump)
