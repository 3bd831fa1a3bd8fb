"""Behind a load balancer: HAProxy announces its clients by the PROXY protocol."""

import imaplib
import poplib
import smtplib

from case import PASSWORD, PeerTest
from process import Child, until
from test_ways import answers, free_port

HAPROXY = """
global
    stats socket {socket} mode 600 level admin
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
"""
PROXY = """
listen {name}
    bind 127.0.0.1:{port}
    option tcp-check
    server relay 127.0.0.1:{target} {option} check check-send-proxy inter 200ms
"""


class Balancers(PeerTest):
    """An authrelay whose listeners believe HAProxy alone."""

    def behind(self, option, allow=("127.0.0.2", "127.0.0.1")):
        configuration = self.world.configuration()
        for listener in configuration["listeners"]:
            listener["proxy_protocol"] = ["127.0.0.1"]
            listener["allow"] = list(allow)
            listener["allow_cleartext"] = True
        proxy = self.enterContext(self.world.start(self.id().rpartition(".")[2], configuration))
        ports = {name: free_port() for name in proxy.ports}
        text = HAPROXY.format(socket=self.folder / "stats")
        for name, port in ports.items():
            text += PROXY.format(name=name, port=port, target=proxy.ports[name], option=option)
        file = self.file("haproxy.cfg", text)
        child = Child("haproxy", ["/usr/sbin/haproxy", "-db", "-f", file], self.folder)
        self.addCleanup(child.stop)
        until(lambda: answers(ports["imap-implicit"]), "HAProxy listens")
        return proxy, ports

    def all_ways(self, option):
        proxy, ports = self.behind(option)
        login = self.world.mailbox().address
        # Clients at another address than the balancer's.
        source = ("127.0.0.2", 0)
        for mode in ("none", "starttls", "implicit"):
            with smtplib.SMTP_SSL("localhost", ports["smtp-implicit"], source_address=source, context=self.tls(), timeout=60) \
                    if mode == "implicit" else smtplib.SMTP("localhost", ports[f"smtp-{mode}"], source_address=source, timeout=60) as smtp:
                if mode == "starttls":
                    smtp.starttls(context=self.tls())
                smtp.login(login, PASSWORD)
                smtp.noop()
        imap = imaplib.IMAP4_SSL("localhost", ports["imap-implicit"], ssl_context=self.tls(), timeout=60)
        imap.login(login, PASSWORD)
        imap.logout()
        pop3 = poplib.POP3("localhost", ports["pop3-starttls"], timeout=60)
        pop3.stls(context=self.tls())
        pop3.user(login)
        pop3.pass_(PASSWORD)
        pop3.quit()
        sessions = proxy.sessions(login, 5)
        clients = [session["client"].rpartition(":")[0] for session in sessions]
        self.assertEqual(sorted(clients), ["127.0.0.1"] * 2 + ["127.0.0.2"] * 3, sessions)
        self.assertEqual({session["outcome"] for session in sessions}, {"relayed"})
        # Its health checks speak for themselves: version 2 by LOCAL, version 1 as a client of its own.
        until(lambda: [record for record in proxy.records("session") if record["outcome"] == "probe"], "a health check")
        self.assertEqual(proxy.records("not a load balancer's connection"), [])

    def test_version_1(self):
        self.all_ways("send-proxy")

    def test_version_2(self):
        self.all_ways("send-proxy-v2")

    def test_extensions_are_passed_over(self):
        self.all_ways("send-proxy-v2 proxy-v2-options unique-id,crc32c")

    def test_a_client_outside_allow_is_closed(self):
        proxy, ports = self.behind("send-proxy-v2", allow=["127.0.0.1"])
        with self.assertRaises((smtplib.SMTPServerDisconnected, OSError)):
            smtplib.SMTP("localhost", ports["smtp-none"], source_address=("127.0.0.2", 0), timeout=60)
        told = until(lambda: proxy.records("client outside the listener's allow list"), "the refusal")
        self.assertTrue(told[0]["client"].startswith("127.0.0.2:"), told)
        self.assertEqual([record for record in proxy.records("session") if record.get("login")], [])

    def test_without_a_header_nobody_is_served(self):
        proxy, ports = self.behind("")
        # HAProxy's clients speak for themselves here: authrelay waits for a header and closes.
        with self.assertRaises((smtplib.SMTPServerDisconnected, OSError)):
            smtplib.SMTP("localhost", ports["smtp-none"], timeout=60)
        self.assertTrue(until(lambda: proxy.records("not a load balancer's connection"), "the refusal"))
