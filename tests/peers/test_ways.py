"""Ways to a token and to the mail service: proof by certificate, OAUTHBEARER, egress proxies."""

import imaplib
import poplib
import smtplib
import socket

import dovecot
import relay
from case import PASSWORD, PeerTest
from doors import TokenDoor
from mail import message
from process import Child, until
from world import PROTOCOLS, self_signed

# Debian's tinyproxy and dante-server listen on a port that they are told.
TINYPROXY = """
Port {port}
Listen 127.0.0.1
Timeout 60
LogFile "{log}"
LogLevel Connect
BasicAuth relay proxy-password
"""
DANTE = """
logoutput: {log}
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
clientmethod: none
socksmethod: none
client pass {{
    from: 127.0.0.0/8 to: 0.0.0.0/0
}}
socks pass {{
    from: 127.0.0.0/8 to: 0.0.0.0/0
    command: connect
    log: connect
}}
"""


def free_port():
    with dovecot.listening() as bound:
        return bound.getsockname()[1]


class Ways(PeerTest):
    """With an authrelay of its own."""

    def start(self, **changes):
        configuration = self.world.configuration()
        for name, change in changes.items():
            change(configuration[name])
        return self.enterContext(self.world.start(self.id().rpartition(".")[2], configuration))

    def imap(self, proxy, login):
        imap = imaplib.IMAP4_SSL("localhost", proxy.ports["imap-implicit"], ssl_context=self.tls(), timeout=60)
        try:
            imap.login(login, PASSWORD)
        except imaplib.IMAP4.error:
            imap.shutdown()
            raise
        return imap

    def all_three(self, proxy, mailbox):
        """A message in by SMTP to the sink, one out by IMAP and by POP3."""
        text = message("way")
        mailbox.deliver(text)
        imap = self.imap(proxy, mailbox.address)
        imap.select()
        self.assertEqual(imap.fetch("1", "BODY[]")[1][0][1], text)
        imap.logout()
        pop3 = poplib.POP3_SSL("localhost", proxy.ports["pop3-implicit"], context=self.tls(), timeout=60)
        pop3.user(mailbox.address)
        pop3.pass_(PASSWORD)
        self.assertEqual(pop3.stat()[0], 1)
        pop3.quit()
        with smtplib.SMTP("localhost", proxy.ports["smtp-starttls"], timeout=60) as smtp:
            smtp.starttls(context=self.tls())
            smtp.login(mailbox.address, PASSWORD)
            smtp.sendmail(mailbox.address, ["somebody@elsewhere.test"], text)


class Certificate(Ways):
    def test_the_provider_verifies_what_the_certificates_key_signed(self):
        def by_certificate(registrations):
            provider = self.world.identity_provider
            for registration in registrations.values():
                del registration["client_secret"]
                registration["client_id"] = "authrelay-certificate"
                registration["certificate"] = {
                    "certificate": str(provider.client_certificate),
                    "key": str(provider.client_key),
                }

        proxy = self.start(registrations=by_certificate)
        before = len(self.world.identity_provider.requests())
        self.all_three(proxy, self.world.mailbox())
        requests = self.world.identity_provider.requests()[before:]
        self.assertEqual(requests, [{"client": "authrelay-certificate", "status": 200}])


    def test_another_key_is_refused(self):
        certificate, key = self.folder / "other.pem", self.folder / "other.key"
        self_signed(certificate, key)

        def by_another(registrations):
            for registration in registrations.values():
                del registration["client_secret"]
                registration["client_id"] = "authrelay-certificate"
                registration["certificate"] = {"certificate": str(certificate), "key": str(key)}

        proxy = self.start(registrations=by_another)
        before = len(self.world.identity_provider.requests())
        with self.assertRaisesRegex(imaplib.IMAP4.error, "CONTACTADMIN"):
            self.imap(proxy, self.world.mailbox().address)
        requests = self.world.identity_provider.requests()[before:]
        self.assertEqual(requests, [{"client": "authrelay-certificate", "status": 401}])


class Oauthbearer(Ways):
    def test_dovecot_that_takes_nothing_else(self):
        world = self.world
        folder = self.folder / "dovecot"
        bearer = self.enterContext(
            dovecot.Dovecot(folder, world.certs, world.identity_provider.keys, world.sink.port, "oauthbearer")
        )

        def by_bearer(providers):
            names = zip(PROTOCOLS, ("imaps", "pop3s", "submissions"))
            ports = {protocol: bearer.ports[name] for protocol, name in names}
            token_url = world.identity_provider.token_url
            providers["implicit"] = relay.provider(world.certs, token_url, ports, "implicit")
            providers["implicit"]["mechanism"] = "oauthbearer"

        proxy = self.start(providers=by_bearer)
        mailbox = bearer.mailbox("bearer@implicit.test")
        self.all_three(proxy, mailbox)
        self.assertEqual(len(bearer.logins(mailbox.address)), 3)


class Egress(Ways):
    def proxy(self, name, configuration, command):
        """A real proxy; its port, and the lines that it has logged."""
        port, log = free_port(), self.folder / f"{name}.log"
        file = self.file(f"{name}.conf", configuration.format(port=port, log=log))
        self.begin(name, [*command, file], port)
        return port, lambda: log.read_text(errors="replace")

    def microsocks(self):
        """A SOCKS5 proxy that wants credentials and prints what it does."""
        port = free_port()
        command = ["microsocks", "-i", "127.0.0.1", "-p", port, "-u", "relay", "-P", "proxy-password"]
        child = self.begin("microsocks", command, port)
        return port, lambda: child.log.read_text(errors="replace")

    def begin(self, name, command, port):
        child = Child(f"{name}-output", command, self.folder)
        self.addCleanup(child.stop)
        until(lambda: answers(port), f"{name} on its port")
        return child

    def through(self, token_url=None, **egress):
        def change(providers):
            for provider in providers.values():
                provider["egress"] = egress
                provider["token_url"] = token_url or provider["token_url"]

        return self.start(providers=change)

    def assert_leads_everywhere(self, proxy, text):
        """To the mail services that begin with TLS and to those that begin with STARTTLS; and the
        proxy has seen them and the token endpoint."""
        self.all_three(proxy, self.world.mailbox())
        self.all_three(proxy, self.world.mailbox("starttls.test"))
        for port in (self.world.identity_provider.port, *self.world.dovecot.ports.values()):
            until(lambda port=port: str(port) in text(), f"port {port} in the proxy's log")

    def fault(self, proxy, login):
        """What IMAP's client is not told, and the log is."""
        with self.assertRaisesRegex(imaplib.IMAP4.error, r"\[UNAVAILABLE\]"):
            self.imap(proxy, login)
        [fault] = until(lambda: proxy.records("fault"), "a fault in the log")
        self.assertIn("egress", fault["remedy"])
        self.assertNotIn("wrong-password", proxy.child.log.read_text())
        return fault

    def test_http_connect_with_a_password(self):
        port, log = self.proxy("tinyproxy", TINYPROXY, ["tinyproxy", "-d", "-c"])
        egress = {"url": f"http://127.0.0.1:{port}", "username": "relay", "password": "proxy-password"}
        self.assert_leads_everywhere(self.through(**egress), log)

    def test_http_connect_with_a_wrong_password(self):
        port, _ = self.proxy("tinyproxy", TINYPROXY, ["tinyproxy", "-d", "-c"])
        proxy = self.through(url=f"http://127.0.0.1:{port}", username="relay", password="wrong-password")
        fault = self.fault(proxy, self.world.mailbox().address)
        self.assertEqual(fault["fault"], "identity_provider: unavailable")
        self.assertIn(f"by the egress proxy 127.0.0.1:{port}", fault["detail"])

    def test_http_connect_with_a_wrong_password_for_mail_alone(self):
        port, _ = self.proxy("tinyproxy", TINYPROXY, ["tinyproxy", "-d", "-c"])
        # A token endpoint on this machine is asked without the proxy.
        with TokenDoor(self.world.identity_provider, self.ca) as door:
            door.open()
            url = f"http://127.0.0.1:{port}"
            proxy = self.through(door.url, url=url, username="relay", password="wrong-password")
            fault = self.fault(proxy, self.world.mailbox().address)
        self.assertEqual(fault["fault"], "upstream: unreachable")
        self.assertIn(f"the egress proxy 127.0.0.1:{port} requires other credentials", fault["detail"])

    def test_socks5(self):
        port, log = self.proxy("danted", DANTE, ["danted", "-p", self.folder / "danted.pid", "-N", "1", "-f"])
        # Names are the proxy's to resolve.
        self.assert_leads_everywhere(self.through(url=f"socks5://127.0.0.1:{port}"), log)

    def test_socks5_with_a_password(self):
        port, log = self.microsocks()
        egress = {"url": f"socks5://127.0.0.1:{port}", "username": "relay", "password": "proxy-password"}
        self.assert_leads_everywhere(self.through(**egress), log)

    def test_socks5_with_a_wrong_password(self):
        port, _ = self.microsocks()
        # A token endpoint on this machine is asked without the proxy.
        with TokenDoor(self.world.identity_provider, self.ca) as door:
            door.open()
            proxy = self.through(
                door.url, url=f"socks5://127.0.0.1:{port}", username="relay", password="wrong-password"
            )
            fault = self.fault(proxy, self.world.mailbox().address)
        self.assertEqual(fault["fault"], "upstream: unreachable")
        self.assertIn(f"the egress proxy 127.0.0.1:{port}", fault["detail"])


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
