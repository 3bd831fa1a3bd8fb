"""What looks at a listener and presents no credentials: load balancers, monitoring, a browser. Each
is counted as a probe, is in no audit record, locks nobody out, is no match of fail2ban's filter and
raises no alert; a fault only where `client: starttls` or `client: tls` says what to change."""

import imaplib
import json
import re
import urllib.error
import urllib.request
from pathlib import Path

from browser import Chromium
from case import PASSWORD, PeerTest
from process import Child, until

PLUGINS = Path("/usr/lib/nagios/plugins")
FILTER = Path(__file__).resolve().parent.parent / "deploy/fail2ban/filter.d/authrelay.conf"
# The product's lockout: failures of one login, or of unknown ones from one address.
LOCKOUT = 10
MODES = ("none", "starttls", "implicit")

CHECKS = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
"""
# As HAProxy's manual has them, for a server that need not be asked over TLS.
SMTPCHK = """
backend {name}
    option smtpchk {hello}
    server relay 127.0.0.1:{port} check inter 100ms fall 1 rise 1
"""
TCP_CHECK = """
backend {name}
    option tcp-check
    tcp-check expect string {greeting}
    {goodbye}
    server relay 127.0.0.1:{port} check inter 100ms fall 1 rise 1
"""
BARE = """
backend {name}
    server relay 127.0.0.1:{port} check inter 100ms fall 1 rise 1
"""


class Probes(PeerTest):
    """With an authrelay of its own, which would tell of alerts."""

    def setUp(self):
        super().setUp()
        self.mailbox = self.world.mailbox()
        name = self.id().rpartition(".")[2]
        self.alerts, self.audit = self.folder / "alerts", self.folder / "audit.jsonl"
        hook = ["/bin/sh", "-c", f"cat >> {self.alerts}"]
        self.proxy = self.enterContext(
            self.world.start(
                name,
                {
                    **self.world.configuration(),
                    "admin": {"bind": "127.0.0.1:0"},
                    "audit": {"path": str(self.audit)},
                    "notify": [{"events": ["consent", "credential", "upstream", "audit"], "command": hook}],
                },
            )
        )
        (record,) = self.proxy.records("admin listening")
        self.metrics_url = f"http://{record['address']}/metrics"

    def metrics(self):
        """Values above zero, by family and labels."""
        with urllib.request.urlopen(self.metrics_url, timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        values = {}
        for line in lines:
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                values[name] = float(value)
        return {name: value for name, value in values.items() if value}

    def assert_probes(self, at_least, faults=()):
        """So many sessions have ended, all of them probes; `faults` are those of the log, each with
        a cure."""
        ended = until(lambda: self.ended(at_least), f"{at_least} sessions")
        self.assertEqual({(record["outcome"], record["level"]) for record in ended}, {("probe", "DEBUG")})
        found = self.proxy.records("fault")
        self.assertEqual({record["fault"] for record in found}, set(faults), found)
        for record in found:
            self.assertTrue(record["remedy"], record)
        metrics = self.metrics()
        sessions = {name: value for name, value in metrics.items() if name.startswith("authrelay_sessions_total")}
        self.assertEqual({re.search(r'outcome="(\w+)"', name)[1] for name in sessions}, {"probe"}, sessions)
        self.assertGreaterEqual(sum(sessions.values()), at_least)
        counted = {tuple(re.findall(r'(?:side|kind)="(\w+)"', n)) for n in metrics if n.startswith("authrelay_faults_total")}
        self.assertEqual(counted, {tuple(fault.split(": ")) for fault in faults})
        self.assertFalse([name for name in metrics if name.startswith("authrelay_notifications_total")])
        self.assertFalse(self.alerts.exists())
        self.assertFalse([r for r in self.records_of_audit() if r["event"] in ("login", "session")])
        banned = self.client("fail2ban-regex", "-o", "ip", self.proxy.child.log, FILTER).stdout.decode().split()
        self.assertEqual(banned, [])
        # Nobody is locked out.
        imap = imaplib.IMAP4_SSL("localhost", self.proxy.ports["imap-implicit"], ssl_context=self.tls(), timeout=60)
        imap.login(self.mailbox.address, PASSWORD)
        imap.logout()
        self.proxy.sessions(self.mailbox.address)

    def records_of_audit(self):
        return [json.loads(line) for line in self.audit.read_text().splitlines()] if self.audit.exists() else []

    def ended(self, at_least):
        found = self.proxy.records("session")
        return found if len(found) >= at_least else None


class Balancers(Probes):
    def test_f07_haproxy(self):
        """Checks as its manual has them: SMTP's own, greetings, and bare connections."""
        ports, text = self.proxy.ports, CHECKS
        for mode in ("none", "starttls"):
            for hello in ("", "EHLO balancer.test"):
                name = f"smtp-{mode}-{hello[:4] or 'HELO'}"
                text += SMTPCHK.format(name=name, hello=hello, port=ports[f"smtp-{mode}"])
            for protocol, greeting, goodbye in (
                ("imap", r"*\ OK", r"tcp-check send a\ LOGOUT\r\n"),
                ("imap", r"*\ OK", ""),
                ("pop3", "+OK", r"tcp-check send QUIT\r\n"),
                ("pop3", "+OK", ""),
            ):
                name = f"{protocol}-{mode}-{'polite' if goodbye else 'short'}"
                text += TCP_CHECK.format(name=name, greeting=greeting, goodbye=goodbye, port=ports[f"{protocol}-{mode}"])
        for name, port in ports.items():
            text += BARE.format(name=f"{name}-bare", port=port)
        text += f"\nglobal\n    stats socket {self.folder}/stats mode 600 level admin\n"
        file = self.file("haproxy.cfg", text)
        haproxy = Child("haproxy", ["/usr/sbin/haproxy", "-db", "-f", file], self.folder)
        self.addCleanup(haproxy.stop)
        self.assertGreater(text.count("\nbackend "), LOCKOUT)
        until(lambda: self.ended(text.count("\nbackend ") * 3), "three rounds of checks")
        log = haproxy.log.read_text()
        haproxy.stop()
        self.assertNotIn("is DOWN", log)
        self.assert_probes(3 * text.count("\nbackend "))


class Monitoring(Probes):
    def test_f07_monitoring_plugins(self):
        """Debian's check_smtp, check_imap, check_pop and check_tcp: all say OK."""
        for mode in MODES:
            for protocol, plugin in (("smtp", "check_smtp"), ("imap", "check_imap"), ("pop3", "check_pop")):
                port = self.proxy.ports[f"{protocol}-{mode}"]
                tls = {"none": [], "starttls": ["-S"] if protocol == "smtp" else [], "implicit": ["-S"]}[mode]
                if protocol == "smtp" and mode == "implicit":
                    tls = ["--ssl"] if b"--ssl" in self.client(PLUGINS / plugin, "--help", exit_codes=(0, 3)).stdout else None
                if tls is not None:
                    said = self.client(PLUGINS / plugin, "-H", "127.0.0.1", "-p", port, *tls).stdout
                    self.assertIn(b"OK", said)
                self.client(PLUGINS / "check_tcp", "-H", "127.0.0.1", "-p", port)
        self.client(PLUGINS / "check_smtp", "-H", "127.0.0.1", "-p", self.proxy.ports["smtp-none"], "-e", "220", "-f", "a@b.test", exit_codes=(0, 1, 2))
        self.assert_probes(17)

    def test_f07_monit(self):
        text = "set daemon 1\nset log /dev/stdout\n"
        for protocol, name in (("smtp", "smtp"), ("imap", "imap"), ("pop3", "pop")):
            for mode in MODES:
                port = self.proxy.ports[f"{protocol}-{mode}"]
                tls = "using ssl with options {verify: disable} " if mode == "implicit" else ""
                text += f"check host {protocol}-{mode} with address 127.0.0.1\n"
                text += f"    if failed port {port} {tls}protocol {name} with timeout 15 seconds then alert\n"
                text += f"    if failed port {port} with timeout 15 seconds then alert\n"
        file = self.file("monitrc", f"{text}set idfile {self.folder}/id\nset statefile {self.folder}/state\nset pidfile {self.folder}/pid\n")
        monit = Child("monit", ["monit", "-I", "-c", file], self.folder)
        self.addCleanup(monit.stop)
        until(lambda: self.ended(2 * 18), "two rounds of checks")
        monit.stop()
        self.assertNotIn("failed", monit.log.read_text())
        self.assert_probes(2 * 18)


class OpenSsl(Probes):
    def s_client(self, port, *options):
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", self.ca, *options]
        return self.client(*command, exit_codes=(0, 1)).stdout

    def test_f07_starttls_and_implicit(self):
        for _ in range(4):
            for protocol in ("smtp", "imap", "pop3"):
                said = self.s_client(self.proxy.ports[f"{protocol}-starttls"], "-starttls", protocol)
                self.assertIn(b"Verify return code: 0 (ok)", said)
                said = self.s_client(self.proxy.ports[f"{protocol}-implicit"])
                self.assertIn(b"Verify return code: 0 (ok)", said)
        self.assert_probes(24)

    def test_f02_starttls_where_there_is_none(self):
        for _ in range(4):
            for protocol in ("smtp", "imap", "pop3"):
                self.s_client(self.proxy.ports[f"{protocol}-none"], "-starttls", protocol)
        self.assert_probes(12, ["client: starttls"])

    def test_f07_tls_at_once_in_clear(self):
        for _ in range(4):
            for protocol in ("smtp", "imap", "pop3"):
                self.s_client(self.proxy.ports[f"{protocol}-none"])
                self.s_client(self.proxy.ports[f"{protocol}-starttls"])
        self.assert_probes(24, ["client: starttls"])


class Browser(Probes):
    def test_f07_chromium(self):
        """It asks http for a page, and https where the listener speaks TLS at once."""
        ports = self.proxy.ports
        allowed = ",".join(str(port) for port in ports.values())
        with Chromium(self.folder, f"--explicitly-allowed-ports={allowed}") as browser:
            for name, port in ports.items():
                scheme = "https" if name.endswith("implicit") else "http"
                try:
                    browser.open(f"{scheme}://localhost:{port}/")
                except urllib.error.HTTPError as error:
                    self.assertIn("ERR_", error.read().decode())
        self.assert_probes(len(ports))
