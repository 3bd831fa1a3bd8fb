"""What docs/applications/ names and Debian has: the mailers of Alertmanager, WordPress (PHPMailer),
Java servers (JavaMail), and sessions as .NET keeps them."""

import json
import smtplib
import urllib.request

import recipes
from case import PASSWORD, PeerTest
from mail import digest, message, sha256
from process import Child, until
from test_ways import Ways, free_port

BODY = "Hello,\n.\n..\n.dots\n"


class Alertmanager(PeerTest):
    """As docs/applications/grafana-alertmanager.md has it."""

    def alert(self, port, require_tls, name):
        """Runs it with one alert."""
        web = free_port()
        file = self.file(
            f"{name}.yml",
            f"""
global:
  smtp_smarthost: localhost:{port}
  smtp_auth_username: {self.mailbox.address}
  smtp_auth_password_file: {self.file("password", PASSWORD)}
  smtp_from: {self.mailbox.address}
  smtp_require_tls: {str(require_tls).lower()}
route: {{receiver: mail, group_wait: 0s, group_interval: 1s}}
receivers:
  - name: mail
    email_configs:
      - to: alertmanager@peers.test
        tls_config: {{ca_file: {self.ca}}}
        headers: {{subject: {name}}}
""",
        )
        options = [f"--web.listen-address=127.0.0.1:{web}", "--cluster.listen-address=", f"--storage.path={self.folder}/{name}"]
        child = Child("alertmanager", ["prometheus-alertmanager", f"--config.file={file}", *options], self.folder)
        self.addCleanup(child.stop)
        child.wait_for("Listening")
        alert = json.dumps([{"labels": {"alertname": name}}]).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{web}/api/v2/alerts", alert, {"content-type": "application/json"})
        urllib.request.urlopen(request, timeout=30).close()
        return child

    def setUp(self):
        super().setUp()
        self.mailbox = self.world.mailbox()

    def test_in_clear_and_by_starttls(self):
        for mode, required in (("none", False), ("starttls", True)):
            name = f"alert-{mode}"
            child = self.alert(self.port(f"smtp-{mode}"), required, name)
            sender, recipients, raw = self.world.sink.message(name)
            self.assertEqual((sender, recipients), (self.mailbox.address, ["alertmanager@peers.test"]))
            self.assertIn(b"alertname", raw)
            child.stop()
        self.relayed(self.mailbox.address, "smtp", 2)

    def test_tls_required_of_a_listener_without_is_in_its_own_log_only(self):
        """It says EHLO and QUIT, as probes do."""
        relay = self.world.relay

        def probes():
            return [record for record in relay.records("session") if record["outcome"] == "probe"]

        faults, before = len(relay.records("fault")), len(probes())
        child = self.alert(self.port("smtp-none"), True, "alert-refused")
        child.wait_for("require_tls.*STARTTLS|STARTTLS.*require_tls|does not advertise the STARTTLS")
        until(lambda: len(probes()) > before, "a probe")
        self.assertEqual(relay.records("fault")[faults:], [])


class PhpMailer(PeerTest):
    def test_phpmailer(self):
        mailbox = self.world.mailbox()
        script = self.world.code / "clients/phpmailer.php"
        for mode in ("none", "starttls", "implicit"):
            for kind in ("", "PLAIN", "LOGIN"):
                name = f"phpmailer {mode} {kind}".strip()
                port = self.port(f"smtp-{mode}")
                self.client("php", script, mode, port, self.ca, mailbox.address, PASSWORD, name, BODY, kind)
                sender, recipients, raw = self.world.sink.message(name)
                self.assertEqual((sender, recipients), (mailbox.address, ["php@peers.test"]))
                self.assertEqual(digest(raw), digest(b"\n\n" + BODY.encode()))
        self.relayed(mailbox.address, "smtp", 9)


class JavaMail(PeerTest):
    def setUp(self):
        super().setUp()
        self.ca = self.folder / "trust.p12"
        store = ["-keystore", self.ca, "-storetype", "PKCS12", "-storepass", "changeit"]
        self.client("keytool", "-importcert", "-noprompt", "-alias", "ca", "-file", self.world.ca, *store)

    def java(self, protocol, mode, login, file):
        jars = ":".join(f"/usr/share/java/{name}.jar" for name in ("bsh", "javax.mail", "javax.activation"))
        interpreter = ["java", "-cp", jars, "bsh.Interpreter"]
        first, *rest = recipes.script(self, "", "mail.bsh", protocol, mode, self.port(f"{protocol}-{mode}"), login, file)
        return self.client(*interpreter, *rest).stdout.decode().split()

    def test_smtp(self):
        mailbox = self.world.mailbox()
        for mode in ("none", "starttls", "implicit"):
            name = f"javamail {mode}"
            file = self.folder / mode
            file.write_bytes(message(name))
            self.java("smtp", mode, mailbox.address, file)
            sender, recipients, raw = self.world.sink.message(name)
            self.assertEqual((sender, recipients), (mailbox.address, ["java@peers.test"]))
            self.assertEqual(digest(raw), digest(message(name)))
        self.relayed(mailbox.address, "smtp", 3)

    def test_imap_and_pop3(self):
        for protocol in ("imap", "pop3"):
            mailbox = self.world.mailbox()
            for name in ("one", "two"):
                mailbox.deliver(message(name))
            expected = sorted(map(sha256, mailbox.messages()))
            for mode in ("none", "starttls", "implicit"):
                self.assertEqual(sorted(self.java(protocol, mode, mailbox.address, "-")), expected)
            self.relayed(mailbox.address, protocol, 3)


class DotNet(Ways):
    """SmtpClient keeps its sessions for 100 s after a message and says no QUIT (SQL Server's Database
    Mail, PowerShell, ASP.NET)."""

    def test_f10_idle_sessions_without_quit_hold_nobody_up(self):
        def limits(providers):
            providers["implicit"]["smtp_limits"] = {"connections": 3, "messages_per_minute": 1000, "wait": "5s"}

        proxy = self.start(providers=limits)
        mailbox = self.world.mailbox()
        sessions = []
        for number in range(5):
            smtp = smtplib.SMTP("localhost", proxy.ports["smtp-starttls"], timeout=60)
            smtp.starttls(context=self.tls())
            smtp.login(mailbox.address, PASSWORD)
            smtp.sendmail(mailbox.address, ["net@peers.test"], message(f"dotnet {number}"))
            sessions.append(smtp)
        # One of them sends again, after the others.
        sessions[0].sendmail(mailbox.address, ["net@peers.test"], message("dotnet again"))
        for name in [*map(str, range(5)), "again"]:
            self.assertEqual(self.world.sink.message(f"dotnet {name}")[0], mailbox.address)
        for smtp in sessions:
            smtp.close()
        for record in proxy.sessions(mailbox.address, 5):
            self.assertEqual((record["outcome"], record["closed_by"], record.get("fault")), ("relayed", "client", None))
        self.assertEqual(proxy.records("fault"), [])
