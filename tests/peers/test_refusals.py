"""What clients see when a login cannot be: each side's fault is told in that side's words."""

import imaplib
import poplib
import smtplib
from contextlib import ExitStack

import dovecot
import recipes
import relay
from case import PASSWORD, PeerTest
from doors import TokenDoor, Watched
from mail import message
from process import until

WRONG = "wrong-password"


def imap_refusal(port, login, password):
    """What an IMAP client is told."""
    imap = imaplib.IMAP4("127.0.0.1", port, timeout=30)
    try:
        imap.login(login, password)
    except imaplib.IMAP4.error as error:
        return error.args[0].decode()
    finally:
        imap.shutdown()


def pop3_refusal(port, login, password):
    """What a POP3 client is told."""
    pop3 = poplib.POP3("127.0.0.1", port, timeout=30)
    try:
        pop3.user(login)
        pop3.pass_(password)
    except poplib.error_proto as error:
        return str(error)
    finally:
        pop3.close()


def smtp_refusal(port, login, password):
    """What an SMTP client is told."""
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as smtp:
        smtp.ehlo()
        smtp.user, smtp.password = login, password
        try:
            smtp.auth("PLAIN", smtp.auth_plain)
        except smtplib.SMTPAuthenticationError as error:
            return f"{error.smtp_code} {error.smtp_error.decode()}"


class Refusals(PeerTest):
    def refusals(self, ports, login, password=PASSWORD):
        return (
            imap_refusal(ports["imap-none"], login, password),
            pop3_refusal(ports["pop3-none"], login, password),
            smtp_refusal(ports["smtp-none"], login, password),
        )

    def check(self, refusals, *patterns):
        for refusal, pattern in zip(refusals, patterns):
            self.assertRegex(refusal or "accepted", pattern)


class WrongPassword(Refusals):
    """Token endpoint and mail service are watched: nobody may come."""

    def setUp(self):
        super().setUp()
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.token = stack.enter_context(Watched())
        self.upstreams = {protocol: stack.enter_context(Watched()) for protocol in ("imap", "pop3", "smtp")}
        configuration = self.world.configuration(f"http://127.0.0.1:{self.token.port}/token")
        for provider in configuration["providers"].values():
            for protocol, watched in self.upstreams.items():
                provider[protocol]["port"] = watched.port
        # Give up on the silent endpoint soon, where a test does get that far.
        configuration["limits"] = {"upstream_timeout": "1s"}
        self.relay = stack.enter_context(self.world.start(self.id().rpartition(".")[2], configuration))
        self.ports = self.relay.ports

    def nobody_came(self):
        self.assertFalse(self.token.visited(), "a token was asked for")
        for protocol, watched in self.upstreams.items():
            self.assertFalse(watched.visited(), f"the {protocol} upstream was dialled")

    def refused(self, login, command, exit_code, words, **options):
        """The client fails in its own way, and nothing has left the machine."""
        done = self.client(*command, exit_codes=(exit_code,), **options)
        self.assertRegex((done.stdout + done.stderr).decode(), words)
        for record in self.relay.sessions(login):
            self.assertEqual((record["outcome"], record["fault"]), ("refused", "client: credentials"))
        self.nobody_came()

    def test_python(self):
        login = "python@implicit.test"
        self.check(
            self.refusals(self.ports, login, WRONG), r"^\[AUTHENTICATIONFAILED\]", r"-ERR \[AUTH\]", "^535 5.7.8"
        )
        self.nobody_came()
        # The watch itself is seen to work.
        self.check([imap_refusal(self.ports["imap-none"], login, PASSWORD)], r"^\[UNAVAILABLE\]")
        self.assertTrue(self.token.visited())

    def test_unknown_login(self):
        self.check(
            self.refusals(self.ports, "nobody@elsewhere.test", PASSWORD),
            r"^\[AUTHENTICATIONFAILED\]",
            r"-ERR \[AUTH\]",
            "^535 5.7.8",
        )
        self.nobody_came()

    def test_curl(self):
        for scheme, protocol in (("imaps", "imap"), ("pop3s", "pop3"), ("smtps", "smtp")):
            login = f"curl-{protocol}@implicit.test"
            url = f"{scheme}://localhost:{self.ports[f'{protocol}-implicit']}/"
            self.refused(login, recipes.curl(self, url, login, password=WRONG), 67, "denied")

    def test_imap_clients(self):
        starttls, implicit = self.ports["imap-starttls"], self.ports["imap-implicit"]
        login = "mbsync@implicit.test"
        self.refused(login, recipes.mbsync(self, starttls, login, WRONG), 1, "AUTHENTICATIONFAILED")
        login = "fetchmail@implicit.test"
        command = recipes.fetchmail(self, "IMAP", implicit, login, "ssl", password=WRONG)
        self.refused(login, command, 3, "Authorization failure")
        login = "getmail@implicit.test"
        command = recipes.getmail(self, "IMAP", implicit, login, password=WRONG)
        self.refused(login, command, 127, "AUTHENTICATIONFAILED")
        for interpreter, name, words in (
            ("perl", "mail.pl", "AUTHENTICATIONFAILED"),
            ("ruby", "mail.rb", "Wrong login or password"),
            ("node", "mail.mjs", "authenticationFailed: true"),
        ):
            login = f"{interpreter}@implicit.test"
            command = recipes.script(self, interpreter, name, "imap", "starttls", starttls, login, "file", WRONG)
            self.refused(login, command, 255 if interpreter == "perl" else 1, words)

    def test_pop3_clients(self):
        starttls, implicit = self.ports["pop3-starttls"], self.ports["pop3-implicit"]
        login = "fetchmail@implicit.test"
        command = recipes.fetchmail(self, "POP3", implicit, login, "ssl", password=WRONG)
        self.refused(login, command, 3, "Authorization failure")
        login = "getmail@implicit.test"
        command = recipes.getmail(self, "POP3", implicit, login, password=WRONG)
        self.refused(login, command, 127, r"\[AUTH\]")
        login = "mpop@implicit.test"
        self.refused(login, recipes.mpop(self, "on", starttls, login, "user", "out", WRONG), 77, "authentication failed")
        login = "php@implicit.test"
        command = recipes.script(self, "php", "mail.php", "pop3", "ssl", implicit, login, "file", WRONG)
        self.refused(login, command, 1, r"\[AUTH\]")

    def test_smtp_clients(self):
        starttls, implicit = self.ports["smtp-starttls"], self.ports["smtp-implicit"]
        given = message("refused")
        login = "msmtp@implicit.test"
        command = recipes.msmtp(self, "on", starttls, login, "plain", WRONG)
        self.refused(login, command, 77, "535 5.7.8", given=given)
        login = "swaks@implicit.test"
        file = self.file("message", given.decode())
        command = recipes.swaks(self, ["--tls"], starttls, login, "LOGIN", file, WRONG)
        self.refused(login, command, 28, "535 5.7.8")
        for interpreter, name, words in (
            ("perl", "mail.pl", "Wrong login or password"),
            ("ruby", "mail.rb", "535 5.7.8"),
            ("node", "mail.mjs", "EAUTH"),
        ):
            login = f"{interpreter}@implicit.test"
            command = recipes.script(self, interpreter, name, "smtp", "implicit", implicit, login, file, WRONG)
            self.refused(login, command, 255 if interpreter == "perl" else 1, words)


class Outages(Refusals):
    """A fault that passes is told as one."""

    TEMPORARY = (r"^\[UNAVAILABLE\]", r"-ERR \[SYS/TEMP\]", "^454 4.7.0")

    def test_token_endpoint_down_and_up_again(self):
        mailbox = self.world.mailbox()
        mailbox.deliver(message("after the outage"))
        with (
            TokenDoor(self.world.identity_provider, self.ca) as door,
            self.world.start("outage", self.world.configuration(door.url)) as proxy,
        ):
            self.check(self.refusals(proxy.ports, mailbox.address), *self.TEMPORARY)
            file = self.file("message", "")
            command = recipes.msmtp(self, "on", proxy.ports["smtp-starttls"], mailbox.address, "plain")
            done = self.client(*command, given=message("later"), exit_codes=(75, 77))
            self.assertIn(b"454 4.7.0", done.stderr)
            for record in proxy.sessions(mailbox.address, 4):
                self.assertEqual((record["outcome"], record["fault"]), ("failed", "identity_provider: unavailable"))
            door.open()

            def recovers():
                url = f"imaps://localhost:{proxy.ports['imap-implicit']}/INBOX;MAILINDEX=1"
                done = self.client(*recipes.curl(self, url, mailbox.address), exit_codes=(0, 67))
                return done.stdout

            # Not restarted, not told: it asks again by itself.
            self.assertEqual(until(recovers, "a token after the outage", 60), message("after the outage"))

    def test_upstream_down(self):
        configuration = self.world.configuration()
        with ExitStack() as stack:
            for protocol in ("imap", "pop3", "smtp"):
                # Bound and not listening: connections are refused, and nobody else gets the port.
                door = stack.enter_context(TokenDoor(self.world.identity_provider, self.ca))
                configuration["providers"]["implicit"][protocol]["port"] = door.socket.getsockname()[1]
            proxy = stack.enter_context(self.world.start("upstream-down", configuration))
            login = "anybody@implicit.test"
            self.check(self.refusals(proxy.ports, login), *self.TEMPORARY)
            for record in proxy.sessions(login, 3):
                self.assertEqual((record["outcome"], record["fault"]), ("failed", "upstream: unreachable"))

    def test_upstream_from_an_authority_that_is_not_trusted(self):
        configuration = self.world.configuration()
        other = self.world.binary.certs(self.folder / "other")
        mailbox = self.world.mailbox()
        with TokenDoor(self.world.identity_provider, self.ca) as door:
            door.open()
            for provider in configuration["providers"].values():
                provider["ca"], provider["token_url"] = f"{other}/ca.pem", door.url
            with self.world.start("untrusted", configuration) as proxy:
                self.check(self.refusals(proxy.ports, mailbox.address), *self.TEMPORARY)
                proxy.sessions(mailbox.address, 3)
                details = [record["detail"] for record in proxy.records("fault")]
        self.assertEqual(len(details), 3)
        for detail in details:
            self.assertIn("authority that is not trusted", detail)
        self.assertEqual(self.world.dovecot.logins(mailbox.address), [])


class NotPermitted(Refusals):
    def test_a_mailbox_that_the_application_may_not_open(self):
        mailbox = self.world.mailbox()
        before = len(self.world.identity_provider.requests())
        with self.world.start("forbidden", self.world.configuration()) as proxy:
            url = f"imap://localhost:{proxy.ports['imap-none']}/INBOX"
            self.client(*recipes.curl(self, url, mailbox.address))
            self.check(
                self.refusals(proxy.ports, dovecot.FORBIDDEN), r"^\[AUTHORIZATIONFAILED\]", r"-ERR \[SYS/PERM\]", "^535 "
            )
            for record in proxy.sessions(dovecot.FORBIDDEN, 3):
                self.assertEqual((record["outcome"], record["fault"]), ("failed", "upstream: refused"))
            # The mailbox without permission does not churn the token that opens the other.
            self.assertEqual(len(self.world.identity_provider.requests()) - before, 1)
