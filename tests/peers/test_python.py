"""Python's own clients: every way to log in, on every kind of listener, to both upstreams."""

import base64
import imaplib
import poplib
import smtplib

import dovecot
import relay
from case import PASSWORD, PeerTest
from mail import message, sha256

TLS_MODES = ("none", "starttls", "implicit")
LARGE = 20_000_000


class Python(PeerTest):
    """Opens connections to a listener, with STARTTLS done where it has that."""

    def imap(self, mode):
        port = self.port(f"imap-{mode}")
        if mode == "implicit":
            return imaplib.IMAP4_SSL("localhost", port, ssl_context=self.tls(), timeout=30)
        imap = imaplib.IMAP4("localhost", port, timeout=30)
        if mode == "starttls":
            self.assertIn("LOGINDISABLED", imap.capabilities)
            imap.starttls(self.tls())
        self.assertNotIn("LOGINDISABLED", imap.capabilities)
        return imap

    def pop3(self, mode):
        port = self.port(f"pop3-{mode}")
        if mode == "implicit":
            return poplib.POP3_SSL("localhost", port, context=self.tls(), timeout=30)
        pop3 = poplib.POP3("localhost", port, timeout=30)
        if mode == "starttls":
            self.assertNotIn("USER", pop3.capa())
            pop3.stls(self.tls())
        self.assertIn("USER", pop3.capa())
        return pop3

    def smtp(self, mode):
        port = self.port(f"smtp-{mode}")
        if mode == "implicit":
            return smtplib.SMTP_SSL("localhost", port, context=self.tls(), timeout=30)
        smtp = smtplib.SMTP("localhost", port, timeout=30)
        smtp.ehlo()
        if mode == "starttls":
            self.assertFalse(smtp.has_extn("auth"))
            smtp.starttls(context=self.tls())
        return smtp

    def check_records(self, address, protocol, **at_least):
        records = self.relayed(address, protocol, len(TLS_MODES), **at_least)
        self.assertEqual([record["listener"] for record in records], [f"{protocol}-{mode}" for mode in TLS_MODES])
        self.assertEqual(["client_tls" in record for record in records], [False, True, True])


class Listeners(Python):
    def test_imap_on_every_listener_to_both_upstreams(self):
        hello = message("hello")
        for domain in dovecot.DOMAINS:
            mailbox = self.world.mailbox(domain)
            mailbox.deliver(hello)
            for mode in TLS_MODES:
                imap = self.imap(mode)
                imap.login(mailbox.address, PASSWORD)
                self.assertEqual(imap.select(), ("OK", [b"1"]))
                self.assertEqual(imap.fetch("1", "BODY[]")[1][0][1], hello)
                imap.logout()
            self.check_records(mailbox.address, "imap", bytes_down=3 * len(hello))

    def test_pop3_on_every_listener_to_both_upstreams(self):
        hello = message("hello")
        for domain in dovecot.DOMAINS:
            mailbox = self.world.mailbox(domain)
            mailbox.deliver(hello)
            for mode in TLS_MODES:
                pop3 = self.pop3(mode)
                pop3.user(mailbox.address)
                pop3.pass_(PASSWORD)
                self.assertEqual(b"\r\n".join([*pop3.retr(1)[1], b""]), hello)
                pop3.quit()
            self.check_records(mailbox.address, "pop3", bytes_down=3 * len(hello))

    def test_smtp_on_every_listener_to_both_upstreams(self):
        for domain in dovecot.DOMAINS:
            mailbox = self.world.mailbox(domain)
            for mode in TLS_MODES:
                name = f"python-{mode}-{domain}"
                smtp = self.smtp(mode)
                smtp.login(mailbox.address, PASSWORD)
                smtp.sendmail(mailbox.address, ["one@peers.test", "two@peers.test"], message(name))
                smtp.quit()
                sender, recipients, raw = self.world.sink.message(name)
                self.assertEqual((sender, recipients), (mailbox.address, ["one@peers.test", "two@peers.test"]))
                # The submission service has put its own header lines in front.
                self.assertTrue(raw.endswith(message(name)), raw)
            self.check_records(mailbox.address, "smtp", bytes_up=3 * len(message(name)))


class Logins(Python):
    """Ways to present a login, and accounts of different kinds."""

    def test_imap_plain_and_login(self):
        mailbox = self.world.mailbox()
        plain = f"\0{mailbox.address}\0{PASSWORD}".encode()
        imap = self.imap("starttls")
        self.assertEqual(imap.authenticate("PLAIN", lambda _: plain)[0], "OK")
        self.assertEqual(imap.select()[0], "OK")
        imap.logout()
        answers = iter([mailbox.address.encode(), PASSWORD.encode()])
        imap = self.imap("implicit")
        self.assertEqual(imap.authenticate("LOGIN", lambda _: next(answers))[0], "OK")
        self.assertEqual(imap.select()[0], "OK")
        imap.logout()
        self.relayed(mailbox.address, "imap", 2)

    def test_pop3_plain_and_login(self):
        mailbox = self.world.mailbox()
        user, password = coded(mailbox.address), coded(PASSWORD)
        for dialogue in (
            [f"AUTH PLAIN {coded(chr(0).join(['', mailbox.address, PASSWORD]))}"],
            ["AUTH PLAIN", coded("\0".join(["", mailbox.address, PASSWORD]))],
            ["AUTH LOGIN", user, password],
        ):
            pop3 = self.pop3("implicit")
            for line in dialogue:
                answer = pop3._shortcmd(line)
            self.assertTrue(answer.startswith(b"+OK"))
            self.assertEqual(pop3.stat(), (0, 0))
            pop3.quit()
        self.relayed(mailbox.address, "pop3", 3)

    def test_smtp_plain_and_login_with_and_without_initial_response(self):
        mailbox = self.world.mailbox()
        for mechanism in ("auth_plain", "auth_login"):
            for initial in (True, False):
                smtp = self.smtp("starttls")
                smtp.ehlo()
                smtp.user, smtp.password = mailbox.address, PASSWORD
                name = mechanism.removeprefix("auth_").upper()
                self.assertIn(name, smtp.esmtp_features["auth"].split())
                code, _ = smtp.auth(name, getattr(smtp, mechanism), initial_response_ok=initial)
                self.assertEqual(code, 235)
                self.assertEqual(smtp.mail(mailbox.address)[0], 250)
                smtp.quit()
        self.relayed(mailbox.address, "smtp", 4)

    def test_hashed_password_in_any_case_of_the_login(self):
        self.world.dovecot.mailbox(dovecot.TICKETS).deliver(message("ticket"))
        plain = f"\0{relay.ARGON2_LOGIN.upper()}\0{relay.PASSWORD}".encode()
        imap = self.imap("none")
        imap.authenticate("PLAIN", lambda _: plain)
        imap.select()
        self.assertEqual(imap.search(None, "SUBJECT", "ticket")[1], [b"1"])
        imap.logout()
        record = self.relayed(relay.ARGON2_LOGIN, "imap")[0]
        self.assertEqual((record["mailbox"], record["registration"]), (dovecot.TICKETS, "implicit"))

    def test_a_login_that_is_not_the_mailbox(self):
        pop3 = self.pop3("implicit")
        pop3.user(relay.ALIAS_LOGIN)
        pop3.pass_(PASSWORD)
        pop3.quit()
        record = self.relayed(relay.ALIAS_LOGIN, "pop3")[0]
        self.assertEqual((record["mailbox"], record["registration"]), (dovecot.TICKETS, "starttls"))


class Content(Python):
    """Octets are the same on both sides."""

    def test_20_mb_by_imap_and_pop3(self):
        mailbox = self.world.mailbox()
        large = message("large", LARGE)
        mailbox.deliver(large)
        imap = self.imap("implicit")
        imap.login(mailbox.address, PASSWORD)
        imap.select()
        fetched = imap.fetch("1", "BODY.PEEK[]")[1][0][1]
        self.assertEqual(sha256(fetched), sha256(large))
        self.assertEqual(imap.append("INBOX", None, None, large)[0], "OK")
        imap.logout()
        self.relayed(mailbox.address, "imap", bytes_down=LARGE, bytes_up=LARGE)
        self.assertEqual([sha256(raw) for raw in mailbox.messages()], [sha256(large)] * 2)

        mailbox = self.world.mailbox("starttls.test")
        mailbox.deliver(large)
        pop3 = self.pop3("starttls")
        pop3.user(mailbox.address)
        pop3.pass_(PASSWORD)
        fetched = b"\r\n".join([*pop3.retr(1)[1], b""])
        self.assertEqual(sha256(fetched), sha256(large))
        pop3.quit()
        self.relayed(mailbox.address, "pop3", bytes_down=LARGE)

    def test_20_mb_by_smtp(self):
        mailbox = self.world.mailbox()
        large = message("large", LARGE)
        smtp = self.smtp("implicit")
        smtp.login(mailbox.address, PASSWORD)
        smtp.sendmail(mailbox.address, "large@peers.test", large)
        smtp.quit()
        _, _, raw = self.world.sink.message("large")
        self.assertEqual(sha256(raw[-len(large) :]), sha256(large))
        self.relayed(mailbox.address, "smtp", bytes_up=LARGE)

    def test_every_octet_by_append_and_fetch(self):
        mailbox = self.world.mailbox("starttls.test")
        # NUL is not allowed in a literal, a lone CR or LF not in a message.
        octets = bytes(octet for octet in range(1, 256) if octet not in b"\r\n")
        raw = b"Subject: octets\r\n\r\n" + octets * 1000 + b"\r\n"
        imap = self.imap("none")
        imap.login(mailbox.address, PASSWORD)
        self.assertEqual(imap.append("INBOX", "(\\Seen)", None, raw)[0], "OK")
        imap.select()
        self.assertEqual(imap.fetch("1", "BODY[]")[1][0][1], raw)
        imap.logout()

    def test_idle_sees_a_new_message(self):
        mailbox = self.world.mailbox()
        imap = self.imap("starttls")
        imap.login(mailbox.address, PASSWORD)
        self.assertEqual(imap.select(), ("OK", [b"0"]))
        imap.send(b"i1 IDLE\r\n")
        self.assertTrue(imap.readline().startswith(b"+ "))
        mailbox.deliver(message("news"))
        self.assertEqual(imap.readline(), b"* 1 EXISTS\r\n")
        self.assertEqual(imap.readline(), b"* 1 RECENT\r\n")
        imap.send(b"DONE\r\n")
        self.assertTrue(imap.readline().startswith(b"i1 OK"))
        self.assertEqual(imap.fetch("1", "BODY[]")[1][0][1], message("news"))
        imap.logout()
        self.relayed(mailbox.address, "imap")


def coded(text):
    return base64.b64encode(text.encode()).decode()
