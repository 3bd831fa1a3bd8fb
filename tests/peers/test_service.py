"""authrelay as a service: what it asks for, what it logs, how it ends."""

import base64
import concurrent.futures
import imaplib
import re
import signal
import smtplib
import socket

import relay
from case import PASSWORD, PeerTest
from mail import message
from process import until

CONNECTIONS = 60


class Service(PeerTest):
    """With an authrelay of its own, whose log and tokens are nobody else's."""

    def setUp(self):
        super().setUp()
        name = self.id().rpartition(".")[2]
        self.proxy = self.enterContext(self.world.start(name, self.world.configuration()))

    def imap(self, login, password=PASSWORD):
        imap = imaplib.IMAP4_SSL("localhost", self.proxy.ports["imap-implicit"], ssl_context=self.tls(), timeout=60)
        imap.login(login, password)
        return imap


class Tokens(Service):
    def test_simultaneous_logins_share_one_token(self):
        before = len(self.world.identity_provider.requests())
        mailboxes = [self.world.mailbox() for _ in range(CONNECTIONS)]
        with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as threads:
            sessions = list(threads.map(self.imap, [mailbox.address for mailbox in mailboxes]))
        for imap in sessions:
            self.assertEqual(imap.select(), ("OK", [b"0"]))
            imap.logout()
        requests = self.world.identity_provider.requests()[before:]
        self.assertEqual(requests, [{"client": "authrelay", "status": 200}])


class Log(Service):
    def test_one_record_a_session(self):
        mailbox = self.world.mailbox()
        mailbox.deliver(message("hello"))
        port = self.proxy.ports["imap-none"]
        socket.create_connection(("127.0.0.1", port)).close()
        with self.assertRaisesRegex(imaplib.IMAP4.error, "AUTHENTICATIONFAILED"):
            self.imap(mailbox.address, "wrong")
        # A second attempt on the same connection is the same session.
        imap = imaplib.IMAP4("localhost", port, timeout=30)
        with self.assertRaisesRegex(imaplib.IMAP4.error, "AUTHENTICATIONFAILED"):
            imap.login(mailbox.address, "wrong")
        imap.login(mailbox.address, PASSWORD)
        imap.select()
        imap.fetch("1", "BODY[]")
        imap.logout()
        smtp = smtplib.SMTP("localhost", self.proxy.ports["smtp-none"], timeout=30)
        smtp.login(mailbox.address, PASSWORD)
        smtp.sendmail(mailbox.address, "log@peers.test", message("one record"))
        smtp.quit()

        def ended():
            records = self.proxy.records("session")
            return records if len(records) >= 4 else None

        records = until(ended, "four session records")
        # None more comes, not even at the end.
        self.proxy.child.stop()
        self.assertEqual(self.proxy.records("session"), records)
        self.assertEqual(len({record["session"] for record in records}), 4)
        outcomes = [(record["protocol"], record["outcome"]) for record in records]
        self.assertCountEqual(
            outcomes, [("imap", "probe"), ("imap", "refused"), ("imap", "relayed"), ("smtp", "relayed")]
        )
        by_outcome = {key: record for key, record in zip(outcomes, records)}
        self.assertNotIn("login", by_outcome["imap", "probe"])
        self.assertEqual(by_outcome["imap", "refused"]["fault"], "client: credentials")
        relayed = by_outcome["imap", "relayed"]
        self.assertEqual((relayed["login"], relayed["mailbox"]), (mailbox.address, mailbox.address))
        self.assertGreater(relayed["bytes_down"], len(message("hello")))
        # The submission service counts the same octets.
        relayed = by_outcome["smtp", "relayed"]
        counted = f"in={relayed['bytes_up']} out={relayed['bytes_down']}"
        log = self.world.dovecot.child
        log.wait_for(rf"submission\({re.escape(mailbox.address)}\).*Disconnected: Logged out .*{counted}$")

    def test_no_secret_at_trace_level(self):
        mailbox = self.world.mailbox()
        wrong = "a-password-that-is-wrong"
        # Wrong once by each protocol: a third failure would be slowed.
        for login, password, attempts in (
            (mailbox.address, PASSWORD, 2),
            (relay.ALIAS_LOGIN, PASSWORD, 2),
            (mailbox.address, wrong, 1),
        ):
            for tried in range(attempts):
                plain = f"\0{login}\0{password}"
                imap = imaplib.IMAP4("localhost", self.proxy.ports["imap-none"], timeout=30)
                smtp = smtplib.SMTP("localhost", self.proxy.ports["smtp-none"], timeout=30)
                try:
                    if tried:
                        imap.authenticate("PLAIN", lambda _: plain.encode())
                    else:
                        imap.login(login, password)
                    imap.logout()
                except imaplib.IMAP4.error:
                    self.assertEqual(password, wrong)
                    imap.shutdown()
                try:
                    smtp.login(login, password, initial_response_ok=bool(tried))
                except smtplib.SMTPAuthenticationError:
                    self.assertEqual(password, wrong)
                smtp.close()
        until(lambda: len(self.proxy.records("session")) == 10, "all session records")
        self.proxy.child.stop()
        log = self.proxy.child.log.read_bytes()
        self.assertIn(mailbox.address.encode(), log)
        secrets = [PASSWORD, relay.PASSWORD, wrong, relay.SECRET]
        for secret in [*secrets, *map(coded, secrets), coded(f"\0{mailbox.address}\0{PASSWORD}")]:
            self.assertNotIn(secret.encode(), log)
        # An access token is a JWT; presented, it begins with user=.
        self.assertNotRegex(log, rb"eyJ[\w-]{8}|dXNlcj")


class Drain(Service):
    def test_idle_sessions_are_told_and_a_message_in_flight_arrives(self):
        mailbox = self.world.mailbox()
        idle = self.imap(mailbox.address)
        idle.select()
        idle.send(b"i1 IDLE\r\n")
        self.assertTrue(idle.readline().startswith(b"+ "))
        smtp = smtplib.SMTP("localhost", self.proxy.ports["smtp-none"], timeout=30)
        smtp.login(mailbox.address, PASSWORD)
        smtp.mail(mailbox.address)
        smtp.rcpt("drain@peers.test")
        smtp.putcmd("DATA")
        self.assertEqual(smtp.getreply()[0], 354)
        raw = message("in flight", 100_000)
        quoted = raw.replace(b"\r\n.", b"\r\n..")
        half = len(quoted) // 2
        smtp.send(quoted[:half])

        self.proxy.child.process.send_signal(signal.SIGTERM)
        self.proxy.child.wait_for('"draining"')
        self.assertRegex(idle.readline(), rb"^\* BYE ")
        self.assertEqual(idle.readline(), b"")
        idle.shutdown()
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", self.proxy.ports["imap-none"]))

        self.assertIsNone(self.proxy.child.process.poll())
        smtp.send(quoted[half:] + b".\r\n")
        self.assertEqual(smtp.getreply()[0], 250)
        self.assertEqual(smtp.getreply()[0], 421)
        smtp.close()
        self.assertEqual(self.proxy.child.exit_code(), 0)
        _, recipients, received = self.world.sink.message("in flight")
        self.assertEqual(recipients, ["drain@peers.test"])
        self.assertTrue(received.endswith(raw))
        records = self.proxy.sessions(mailbox.address, 2)
        self.assertEqual([record["outcome"] for record in records], ["relayed", "relayed"])
        self.assertEqual([record["closed_by"] for record in records], ["authrelay", "authrelay"])
        self.assertEqual([record["fault"] for record in records], ["authrelay: draining", "authrelay: draining"])


def coded(text):
    return base64.b64encode(text.encode()).decode()
