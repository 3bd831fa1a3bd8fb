"""deploy/old-tls: a device that speaks TLS 1.0 or RSA key exchange only, by stunnel."""

import base64
import json
import re
import socket
import subprocess

from process import Child, until
from world import DEPLOY, PASSWORD, STATIC, DeployTest, Emulation, ports, run


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class OldTls(DeployTest):
    def setUp(self):
        super().setUp()
        emulation = Emulation(self.folder)
        self.addCleanup(emulation.child.stop)
        ca = self.folder / "ca.pem"
        ca.write_bytes(emulation.ca)
        shipped = (DEPLOY / "old-tls/proxy.yaml").read_text()
        configuration = emulation.fill(shipped, str(ca))
        (listener,) = configuration["listeners"]
        listener["allow"] = ["127.0.0.2"]
        (registration,) = configuration["registrations"].values()
        registration["client_secret"] = emulation.registration["client_secret"]
        (account,) = configuration["accounts"]
        account["passwords"] = [{"name": "old-tls", "password": PASSWORD, "allow": ["127.0.0.2"]}]
        account["smtp"] = {"senders": [account["login"]], "recipients": ["*@contoso.test"]}
        self.login = account["login"]
        configuration["log"] = {"format": "json", "level": "debug"}
        configuration["admin"] = {"bind": "127.0.0.1:0"}
        configuration["state"] = {"directory": str(self.folder / "state")}
        file = self.folder / "proxy.yaml"
        file.write_text(json.dumps(configuration))
        self.relay = Child("relay", [STATIC, "run", "--config", file], self.folder)
        self.addCleanup(self.relay.stop)
        target = ports(self.relay, 1)["old-tls"]
        certs = self.folder / "certs"
        certs.mkdir()
        command = "openssl req -x509 -newkey rsa:2048 -sha256 -nodes -days 2 -subj /CN=localhost".split()
        run(*command, "-keyout", certs / "server.key", "-out", certs / "server.pem")
        self.port = free_port()
        text = (DEPLOY / "old-tls/stunnel.conf").read_text()
        text = text.replace("192.0.2.10:465", f"127.0.0.1:{self.port}").replace("127.0.0.1:1465", f"127.0.0.1:{target}")
        text = text.replace("/etc/authrelay/old-tls", str(certs))
        conf = self.folder / "stunnel.conf"
        conf.write_text(text)
        stunnel = Child("stunnel", ["/usr/bin/stunnel4", conf], self.folder)
        self.addCleanup(stunnel.stop)
        until(lambda: socket.socket().connect_ex(("127.0.0.1", self.port)) == 0, "stunnel listens")

    def speak(self, *options, words, source="127.0.0.2"):
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-bind", f"{source}:0", "-quiet", "-crlf"]
        device = subprocess.Popen(
            [*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        said = device.stdout.readline()
        for word in words:
            device.stdin.write(f"{word}\n")
            device.stdin.flush()
            line = device.stdout.readline()
            while re.match(r"\d{3}-", line):
                line = device.stdout.readline()
            said += line
        device.stdin.close()
        device.wait(30)
        return said

    def test_old_versions_and_suites_log_in(self):
        plain = base64.b64encode(f"\0{self.login}\0{PASSWORD}".encode()).decode()
        for options in (
            ["-tls1", "-cipher", "AES128-SHA:@SECLEVEL=0"],
            ["-tls1_1", "-cipher", "AES256-SHA:@SECLEVEL=0"],
            ["-tls1_2", "-cipher", "AES128-SHA256:@SECLEVEL=0"],
            ["-tls1_2", "-cipher", "AES256-GCM-SHA384", "-servername", "relay test"],
        ):
            with self.subTest(options=options):
                said = self.speak(*options, words=["EHLO device", f"AUTH PLAIN {plain}", "QUIT"])
                self.assertRegex(said, r"^220 authrelay[^\n]*\n250 [^\n]*\n235 ")
        sessions = until(lambda: self.sessions("relayed", 4), "four sessions")
        self.assertEqual({session["client"].rpartition(":")[0] for session in sessions}, {"127.0.0.2"})

    def sessions(self, outcome, count):
        records = [json.loads(line) for line in self.relay.lines() if line.startswith("{")]
        found = [r for r in records if r["message"] == "session" and r["outcome"] == outcome]
        return found if len(found) >= count else None

    def test_others_are_not_served(self):
        said = self.speak("-tls1", "-cipher", "AES128-SHA:@SECLEVEL=0", words=[], source="127.0.0.3")
        self.assertEqual(said, "")
