"""Devices that cannot log in, and applications under a policy."""

import smtplib
import socket

import recipes
from case import PASSWORD
from mail import digest, message
from test_ways import Ways


class Devices(Ways):
    def setUp(self):
        super().setUp()
        self.box = self.world.mailbox()

    def serve(self, **smtp):
        """A listener for devices, and an account with this policy."""

        def account(accounts):
            accounts.insert(
                0,
                {
                    "login": self.box.address,
                    "registration": "implicit",
                    "password": PASSWORD,
                    "smtp": {"senders": ["*@device.test"], "recipients": ["*@peers.test"], **smtp},
                },
            )

        def listener(listeners):
            listeners.append(
                {
                    "name": "devices",
                    "protocol": "smtp",
                    "bind": "127.0.0.1:0",
                    "provider": "implicit",
                    "allow": ["127.0.0.0/8"],
                    "unauthenticated": self.box.address,
                }
            )

        return self.start(accounts=account, listeners=listener)

    def test_a_scanner_that_knows_helo_alone(self):
        proxy = self.serve(**{"from": "mailbox"})
        with socket.create_connection(("localhost", proxy.ports["devices"]), timeout=60) as scanner:
            lines = scanner.makefile("rb")
            self.assertEqual(lines.readline()[:4], b"220 ")
            for command, expected in (
                ("HELO scanner", b"250 "),
                ("MAIL FROM:<scanner@device.test>", b"250 "),
                ("RCPT TO:<somebody@elsewhere.test>", b"550 "),
                ("RCPT TO:<somebody@peers.test>", b"250 "),
                ("DATA", b"354 "),
            ):
                scanner.sendall(f"{command}\r\n".encode())
                self.assertEqual(lines.readline()[:4], expected, command)
            text = b"From: Scanner <scanner@device.test>\r\nSubject: scanned\r\n\r\nx\r\n..\r\n"
            scanner.sendall(text + b".\r\nQUIT\r\n")
            self.assertEqual([line[:4] for line in lines], [b"250 ", b"221 "])
        sender, recipients, raw = self.world.sink.message("scanned")
        self.assertEqual((sender, recipients), (self.box.address, ["somebody@peers.test"]))
        self.assertIn(f"From: Scanner <{self.box.address}>\r\n".encode(), raw)
        self.assertIn(b"Reply-To: Scanner <scanner@device.test>\r\n", raw)
        self.assertTrue(raw.endswith(b"\r\n\r\nx\r\n.\r\n"), raw)

    def test_swaks_without_a_login(self):
        proxy = self.serve()
        file = self.file("message", message("swaks device").decode())
        server = ["swaks", "--server", "localhost", "--port", proxy.ports["devices"], "--data", f"@{file}"]
        self.client(*server, "--from", "swaks@device.test", "--to", "swaks@peers.test")
        sender, recipients, raw = self.world.sink.message("swaks device")
        self.assertEqual((sender, recipients), ("swaks@device.test", ["swaks@peers.test"]))
        self.assertEqual(digest(raw), digest(message("swaks device")))
        # No recipient, no message: 24 is swaks' code for that.
        self.client(*server, "--from", "swaks@device.test", "--to", "a@elsewhere.test", exit_codes=(24,))
        self.client(*server, "--from", "a@elsewhere.test", "--to", "swaks@peers.test", exit_codes=(23,))

    def test_msmtp_and_a_message_too_large(self):
        proxy = self.serve(senders=["*"], max_size="10kB")
        command = recipes.msmtp(self, "on", proxy.ports["smtp-starttls"], self.box.address, "plain")
        self.client(*command, given=message("msmtp policy").replace(b"\r\n", b"\n"))
        self.assertEqual(self.world.sink.message("msmtp policy")[1], ["msmtp@peers.test"])
        large = message("msmtp large", 20_000).replace(b"\r\n", b"\n")
        # EX_UNAVAILABLE, or EX_DATAERR where SIZE says it at MAIL.
        self.client(*command, given=large, exit_codes=(65, 69))
        self.assertNotIn(b"msmtp large", b"".join(mail[2] for mail in list(self.world.sink.received)))

    def test_python_counts_in_data(self):
        proxy = self.serve(max_size="10kB")
        with smtplib.SMTP("localhost", proxy.ports["devices"], timeout=60) as smtp:
            smtp.helo()
            with self.assertRaises(smtplib.SMTPDataError) as refused:
                smtp.sendmail("a@device.test", ["python@peers.test"], message("python large", 20_000))
        self.assertEqual(refused.exception.smtp_code, 552)
        self.assertNotIn(b"python large", b"".join(mail[2] for mail in list(self.world.sink.received)))
