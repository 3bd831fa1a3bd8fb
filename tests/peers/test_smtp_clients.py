"""SMTP clients that people use, each as its manual says."""

from pathlib import Path

import recipes
from case import PASSWORD, PeerTest
from mail import digest, message, sha256

LARGE = 20_000_000

# ssmtp, and nullmailer's sender of one message: Debian does not install them beside Postfix.
SENDERS = Path(__file__).parent.parent / "senders"


class SmtpClients(PeerTest):
    def sent(self, name, sender, recipient, body=None):
        """The sink has the message, with this envelope."""
        found_sender, recipients, raw = self.world.sink.message(name)
        self.assertEqual((found_sender, recipients), (sender, [recipient]))
        self.assertEqual(digest(raw), digest(body or message(name)))
        return raw

    def test_curl(self):
        mailbox = self.world.mailbox()
        for mode in ("none", "starttls", "implicit"):
            for mechanism in ("PLAIN", "LOGIN"):
                for initial in (["--sasl-ir"], []):
                    name = f"curl {mode} {mechanism} {len(initial)}"
                    file = self.folder / "message"
                    file.write_bytes(message(name))
                    options = ["--login-options", f"AUTH={mechanism}", *initial]
                    self.client(*recipes.curl_send(self, mode, self.port(f"smtp-{mode}"), mailbox.address, file, *options))
                    raw = self.sent(name, mailbox.address, "curl@peers.test")
                    self.assertTrue(raw.endswith(message(name)))
        self.relayed(mailbox.address, "smtp", 12, bytes_up=12 * 2000)

    def test_curl_20_mb(self):
        mailbox = self.world.mailbox("starttls.test")
        large = message("curl large", LARGE)
        file = self.folder / "message"
        file.write_bytes(large)
        self.client(*recipes.curl_send(self, "starttls", self.port("smtp-starttls"), mailbox.address, file))
        _, _, raw = self.world.sink.message("curl large")
        self.assertEqual(sha256(raw[-len(large) :]), sha256(large))
        self.relayed(mailbox.address, "smtp", bytes_up=LARGE)

    def test_msmtp(self):
        mailbox = self.world.mailbox("starttls.test")
        for starttls, listener in (("on", "smtp-starttls"), ("off", "smtp-implicit")):
            for mechanism in ("plain", "login"):
                name = f"msmtp {starttls} {mechanism}"
                given = message(name).replace(b"\r\n", b"\n")
                command = recipes.msmtp(self, starttls, self.port(listener), mailbox.address, mechanism)
                self.client(*command, given=given)
                self.sent(name, mailbox.address, "msmtp@peers.test")
        self.relayed(mailbox.address, "smtp", 4, bytes_up=4 * 2000)

    def test_ssmtp(self):
        mailbox = self.world.mailbox()
        for mode, tls in (("none", ""), ("starttls", "UseSTARTTLS=YES"), ("implicit", "UseTLS=YES")):
            for mechanism in ([], ["-amLOGIN"]):
                name = f"ssmtp {mode} {len(mechanism)}"
                configuration = self.file(
                    "ssmtp.conf",
                    f"mailhub=localhost:{self.port(f'smtp-{mode}')}\nAuthUser={mailbox.address}\nAuthPass={PASSWORD}\n"
                    f"FromLineOverride=YES\nhostname=peers.test\nTLS_CA_File={self.ca}\n{tls}\n",
                )
                text = f"From: {mailbox.address}\nTo: ssmtp@peers.test\nSubject: {name}\n\nHello,\n.\n..\n.dots\n"
                sender = SENDERS / "ssmtp"
                self.client(sender, f"-C{configuration}", *mechanism, "ssmtp@peers.test", given=text.encode())
                sent_by, recipients, raw = self.world.sink.message(name)
                self.assertEqual((sent_by, recipients), (mailbox.address, ["ssmtp@peers.test"]))
                self.assertTrue(raw.endswith(b"\r\n\r\nHello,\r\n.\r\n..\r\n.dots\r\n"), raw)
        self.relayed(mailbox.address, "smtp", 6)

    def test_nullmailer(self):
        """Its sender of one message, as nullmailer-send starts it."""
        mailbox = self.world.mailbox()
        for mode, tls in (("none", []), ("starttls", ["starttls"]), ("implicit", ["tls"])):
            for mechanism in ([], ["auth-login"]):
                name = f"nullmailer {mode} {len(mechanism)}"
                ca = [f"x509cafile={self.ca}"] if tls else []
                options = [
                    "host=localhost",
                    f"port={self.port(f'smtp-{mode}')}",
                    f"user={mailbox.address}",
                    f"pass={PASSWORD}",
                    *mechanism,
                    *tls,
                    *ca,
                ]
                text = f"Subject: {name}\n\nHello,\n.\n..\n.dots\n"
                queued = self.file("queued", f"{mailbox.address}\nnullmailer@peers.test\n\n{text}")
                start = f"exec {SENDERS / 'smtp'} 3<{queued}"
                self.client("sh", "-c", start, given="\n".join([*options, "", ""]).encode(), HELOHOST="peers.test")
                sent_by, recipients, raw = self.world.sink.message(name)
                self.assertEqual((sent_by, recipients), (mailbox.address, ["nullmailer@peers.test"]))
                self.assertTrue(raw.endswith(b"\r\n\r\nHello,\r\n.\r\n..\r\n.dots\r\n"), raw)
        self.relayed(mailbox.address, "smtp", 6)

    def test_swaks(self):
        mailbox = self.world.mailbox()
        for mode, tls in (("none", []), ("starttls", ["--tls"]), ("implicit", ["--tls-on-connect"])):
            for mechanism in ("PLAIN", "LOGIN"):
                name = f"swaks {mode} {mechanism}"
                file = self.file("message", message(name).decode())
                port = self.port(f"smtp-{mode}")
                self.client(*recipes.swaks(self, tls, port, mailbox.address, mechanism, file))
                self.sent(name, mailbox.address, "swaks@peers.test")
        self.relayed(mailbox.address, "smtp", 6, bytes_up=6 * 2000)

    def test_neomutt(self):
        mailbox = self.world.mailbox()
        user = mailbox.address.replace("@", "%40")
        configuration = self.file(
            "neomuttrc",
            f"""
            set smtp_url="smtp://{user}:{PASSWORD}@localhost:{self.port("smtp-starttls")}"
            set ssl_starttls=yes ssl_force_tls=yes certificate_file="{self.ca}"
            set from="{mailbox.address}" use_envelope_from=yes copy=no
            """,
        )
        body = b"Hello,\n.\n..\n.dots\n"
        self.client("neomutt", "-n", "-F", configuration, "-s", "neomutt", "neomutt@peers.test", given=body)
        self.sent("neomutt", mailbox.address, "neomutt@peers.test", b"\n\n" + body)
        self.relayed(mailbox.address, "smtp")

    def test_s_nail(self):
        mailbox = self.world.mailbox()
        user = mailbox.address.replace("@", "%40")
        for scheme, listener, option in (
            ("submission", "smtp-starttls", ["-S", "smtp-use-starttls"]),
            ("smtps", "smtp-implicit", []),
        ):
            name = f"s-nail {scheme}"
            mta = f"mta={scheme}://{user}:{PASSWORD}@localhost:{self.port(listener)}"
            body = b"Hello,\n.\n..\n.dots\n"
            command = recipes.s_nail(self, "-S", mta, *option, "-r", mailbox.address, "-s", name, "s-nail@peers.test")
            self.client(*command, given=body, MAILRC="/dev/null")
            self.sent(name, mailbox.address, "s-nail@peers.test", b"\n\n" + body)
        self.relayed(mailbox.address, "smtp", 2)

    def test_perl(self):
        self.script("perl", "mail.pl")

    def test_ruby(self):
        self.script("ruby", "mail.rb")

    def test_nodemailer(self):
        self.script("node", "mail.mjs")

    def script(self, interpreter, script):
        mailbox = self.world.mailbox()
        for mode in ("none", "starttls", "implicit"):
            name = f"{interpreter} {mode}"
            file = self.folder / mode
            file.write_bytes(message(name))
            port = self.port(f"smtp-{mode}")
            self.client(*recipes.script(self, interpreter, script, "smtp", mode, port, mailbox.address, file))
            self.sent(name, mailbox.address, f"{interpreter}@peers.test")
        self.relayed(mailbox.address, "smtp", 3, bytes_up=3 * 2000)
