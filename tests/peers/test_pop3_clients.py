"""POP3 clients that people use, each as its manual says."""

import recipes
from case import PASSWORD, PeerTest
from mail import digest, message, sha256

LARGE = 20_000_000
NAMES = ("one", "two", "three")


class Pop3Clients(PeerTest):
    def filled(self, domain="implicit.test"):
        mailbox = self.world.mailbox(domain)
        mailbox.deliver(*map(message, NAMES))
        return mailbox

    def downloaded(self, folder):
        files = [path for path in (self.folder / folder).rglob("*") if path.is_file()]
        found = [digest(path.read_bytes()) for path in files]
        self.assertEqual(sorted(found), sorted(digest(message(name)) for name in NAMES))

    def test_curl(self):
        mailbox = self.filled()
        for mode, scheme, options in (
            ("none", "pop3", []),
            ("starttls", "pop3", ["--ssl-reqd"]),
            ("implicit", "pop3s", []),
            ("implicit", "pop3s", ["--login-options", "AUTH=PLAIN"]),
            ("implicit", "pop3s", ["--login-options", "AUTH=LOGIN"]),
            ("implicit", "pop3s", ["--sasl-ir"]),
        ):
            url = f"{scheme}://localhost:{self.port(f'pop3-{mode}')}/2"
            fetched = self.client(*recipes.curl(self, url, mailbox.address, *options)).stdout
            self.assertEqual(fetched, message("two"))
        self.relayed(mailbox.address, "pop3", 6, bytes_down=6 * 2000)

    def test_curl_20_mb(self):
        mailbox = self.world.mailbox("starttls.test")
        large = message("large", LARGE)
        mailbox.deliver(large)
        url = f"pop3s://localhost:{self.port('pop3-implicit')}/1"
        fetched = self.client(*recipes.curl(self, url, mailbox.address)).stdout
        self.assertEqual(sha256(fetched), sha256(large))
        self.relayed(mailbox.address, "pop3", bytes_down=LARGE)

    def test_fetchmail(self):
        for mode, tls in (("starttls", "sslproto TLS1.2+"), ("implicit", "ssl")):
            mailbox = self.filled()
            (self.folder / mode).mkdir()
            deliver = f"cat > $(mktemp {self.folder}/{mode}/XXXXXXXX)"
            port = self.port(f"pop3-{mode}")
            self.client(*recipes.fetchmail(self, "POP3", port, mailbox.address, tls, "fetchall no keep", deliver=deliver))
            self.downloaded(mode)
            self.relayed(mailbox.address, "pop3", bytes_down=3 * 2000)
            # What the client deleted is gone: its QUIT reached the upstream.
            self.assertEqual(mailbox.messages(), [])

    def test_getmail(self):
        mailbox = self.filled()
        self.client(*recipes.getmail(self, "POP3", self.port("pop3-implicit"), mailbox.address, "delete = true"))
        self.downloaded("out")
        self.relayed(mailbox.address, "pop3", bytes_down=3 * 2000)
        self.assertEqual(mailbox.messages(), [])

    def test_mpop(self):
        for starttls, listener in (("on", "pop3-starttls"), ("off", "pop3-implicit")):
            for mechanism in ("user", "plain", "login"):
                mailbox = self.filled("starttls.test")
                folder = f"{starttls}-{mechanism}"
                self.client(*recipes.mpop(self, starttls, self.port(listener), mailbox.address, mechanism, folder))
                self.downloaded(folder)
                self.relayed(mailbox.address, "pop3", bytes_down=3 * 2000)
                self.assertEqual(mailbox.messages(), [])

    def test_fdm(self):
        mailbox = self.filled()
        fdm = recipes.fdm(self, ("pop3", self.port("pop3-starttls"), "starttls"), mailbox.address)
        self.client(*fdm, "fetch", SSL_CERT_FILE=str(self.ca))
        self.downloaded("out")
        self.relayed(mailbox.address, "pop3", bytes_down=3 * 2000)
        self.assertEqual(mailbox.messages(), [])

    def test_s_nail(self):
        mailbox = self.filled()
        user = mailbox.address.replace("@", "%40")
        url = f"pop3s://{user}:{PASSWORD}@localhost:{self.port('pop3-implicit')}"
        command = recipes.s_nail(self, "-R", "-f", url)
        self.client(*command, given=b"copy 1-3 mbox-out\nexit\n", MAILRC="/dev/null")
        mbox = (self.folder / "mbox-out").read_bytes()
        for name in NAMES:
            self.assertIn(f"\nSubject: {name}\n".encode(), mbox)
        self.relayed(mailbox.address, "pop3", bytes_down=3 * 2000)

    def test_perl(self):
        self.script("perl", "mail.pl", "none", "starttls", "implicit")

    def test_ruby(self):
        self.script("ruby", "mail.rb", "none", "implicit")

    def script(self, interpreter, script, *modes):
        mailbox = self.filled()
        for mode in modes:
            port = self.port(f"pop3-{mode}")
            file = self.folder / mode
            self.client(*recipes.script(self, interpreter, script, "pop3", mode, port, mailbox.address, file))
            self.assertEqual(digest(file.read_bytes()), digest(message("one")))
        self.relayed(mailbox.address, "pop3", len(modes), bytes_down=len(modes) * 2000)

    def test_php(self):
        mailbox = self.filled()
        file = self.folder / "php"
        command = recipes.script(self, "php", "mail.php", "pop3", "ssl", self.port("pop3-implicit"), mailbox.address, file)
        self.client(*command)
        self.assertEqual(file.read_bytes(), message("one"))
        self.relayed(mailbox.address, "pop3", bytes_down=2000)
