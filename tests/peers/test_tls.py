"""TLS of the listeners as OpenSSL speaks it: both versions that are allowed, and the one that is
not."""

import imaplib
import poplib
import smtplib
import ssl
import warnings

from case import PASSWORD, PeerTest
from world import PROTOCOLS

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class Tls(PeerTest):
    def only(self, version):
        context = self.tls()
        with warnings.catch_warnings():
            # Python warns of versions that nobody should speak.
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
        # Debian's OpenSSL speaks no TLS 1.1 at its usual level, which would prove nothing.
        if version < ssl.TLSVersion.TLSv1_2:
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
        return context

    def log_in(self, protocol, way, context, login):
        """The version that was spoken."""
        port = self.port(f"{protocol}-{way}")
        match protocol, way:
            case "imap", "implicit":
                session = imaplib.IMAP4_SSL("localhost", port, ssl_context=context, timeout=30)
            case "imap", _:
                session = imaplib.IMAP4("localhost", port, timeout=30)
                session.starttls(context)
            case "pop3", "implicit":
                session = poplib.POP3_SSL("localhost", port, context=context, timeout=30)
            case "pop3", _:
                session = poplib.POP3("localhost", port, timeout=30)
                session.stls(context)
            case _, "implicit":
                session = smtplib.SMTP_SSL("localhost", port, context=context, timeout=30)
            case _:
                session = smtplib.SMTP("localhost", port, timeout=30)
                session.starttls(context=context)
        version = session.sock.version()
        if protocol == "pop3":
            session.user(login)
            session.pass_(PASSWORD)
        else:
            session.login(login, PASSWORD)
        (session.logout if protocol == "imap" else session.quit)()
        return version

    def test_r17_each_protocol_and_way_speaks_both_versions(self):
        login = self.world.mailbox().address
        for protocol in PROTOCOLS:
            for way in ("implicit", "starttls"):
                for version in VERSIONS:
                    with self.subTest(protocol=protocol, way=way, version=version.name):
                        spoken = self.log_in(protocol, way, self.only(version), login)
                        self.assertEqual(spoken.replace(".", "_"), version.name)

    def test_r17_no_older_version_is_spoken(self):
        login = self.world.mailbox().address
        for protocol in PROTOCOLS:
            # The refusal is the listener's: OpenSSL alone would send nothing.
            with self.subTest(protocol=protocol), self.assertRaisesRegex(ssl.SSLError, "ALERT"):
                self.log_in(protocol, "implicit", self.only(ssl.TLSVersion.TLSv1_1), login)
