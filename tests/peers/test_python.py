"""Python's own clients: every way to log in, on every kind of listener, to both upstreams."""

import imaplib
import poplib
import smtplib

import relay
from case import PASSWORD, PeerTest
from mail import message, sha256

TLS_MODES = ("none", "starttls", "implicit")
DOMAINS = ("implicit.test", "starttls.test")


class Imap(PeerTest):
    def open(self, mode, port=None):
        port = port or self.port(f"imap-{mode}")
        if mode == "implicit":
            return imaplib.IMAP4_SSL("localhost", port, ssl_context=self.tls(), timeout=30)
        imap = imaplib.IMAP4("localhost", port, timeout=30)
        if mode == "starttls":
            self.assertIn("LOGINDISABLED", imap.capabilities)
            imap.starttls(self.tls())
        return imap

    def test_every_listener_and_both_upstreams(self):
        for domain in DOMAINS:
            mailbox = self.world.mailbox(domain)
            mailbox.deliver(message("hello"))
            for mode in TLS_MODES:
                with self.subTest(domain=domain, mode=mode):
                    imap = self.open(mode)
                    imap.login(mailbox.address, PASSWORD)
                    self.assertEqual(imap.select(), ("OK", [b"1"]))
                    self.assertEqual(imap.fetch("1", "BODY[]")[1][0][1], message("hello"))
                    imap.logout()
            records = self.relayed(mailbox.address, "imap", 3, bytes_down=3 * len(message("hello")))
            self.assertEqual([record["listener"] for record in records], [f"imap-{mode}" for mode in TLS_MODES])
            self.assertEqual(["client_tls" in record for record in records], [False, True, True])
