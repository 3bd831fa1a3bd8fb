"""IMAP clients that people use, each as its manual says."""

import recipes
from case import PASSWORD, PeerTest
from mail import digest, message, sha256
from process import Child, until
from world import environment

LARGE = 20_000_000


class ImapClients(PeerTest):
    def filled(self, *names, domain="implicit.test"):
        mailbox = self.world.mailbox(domain)
        mailbox.deliver(*map(message, names))
        return mailbox

    def downloaded(self, folder, *names):
        """Files below `folder` hold these messages and nothing else."""
        files = [path for path in (self.folder / folder).rglob("*") if path.is_file()]
        found = [digest(path.read_bytes()) for path in files if not path.name.startswith(".")]
        self.assertEqual(sorted(found), sorted(digest(message(name)) for name in names))

    def test_curl(self):
        mailbox = self.filled("one", "two")
        for mode, scheme, options in (
            ("none", "imap", []),
            ("starttls", "imap", ["--ssl-reqd"]),
            ("implicit", "imaps", []),
            ("implicit", "imaps", ["--login-options", "AUTH=PLAIN"]),
            ("implicit", "imaps", ["--login-options", "AUTH=LOGIN"]),
            ("implicit", "imaps", ["--sasl-ir"]),
        ):
            url = f"{scheme}://localhost:{self.port(f'imap-{mode}')}/INBOX;MAILINDEX=2"
            fetched = self.client(*recipes.curl(self, url, mailbox.address, *options)).stdout
            self.assertEqual(fetched, message("two"))
        self.relayed(mailbox.address, "imap", 6, bytes_down=6 * 2000)

    def test_curl_20_mb_down_and_up(self):
        mailbox = self.world.mailbox("starttls.test")
        large = message("large", LARGE)
        mailbox.deliver(large)
        url = f"imaps://localhost:{self.port('imap-implicit')}/INBOX"
        fetched = self.client(*recipes.curl(self, f"{url};MAILINDEX=1", mailbox.address)).stdout
        self.assertEqual(sha256(fetched), sha256(large))
        (self.folder / "large").write_bytes(large)
        self.client(*recipes.curl(self, url, mailbox.address, "--upload-file", self.folder / "large"))
        self.assertEqual([sha256(raw) for raw in mailbox.messages()], [sha256(large)] * 2)
        self.relayed(mailbox.address, "imap", 2, bytes_down=LARGE, bytes_up=LARGE)

    def test_mbsync_500_messages_down_and_one_up(self):
        names = [f"message {number}" for number in range(500)]
        mailbox = self.filled(*names)
        mbsync = recipes.mbsync(self, self.port("imap-starttls"), mailbox.address)
        self.client(*mbsync)
        self.downloaded("mail/INBOX", *names)
        (self.folder / "mail/INBOX/cur/1.up:2,").write_bytes(message("upwards").replace(b"\r\n", b"\n"))
        self.client(*mbsync)
        self.assertIn(digest(message("upwards")), map(digest, mailbox.messages()))
        self.assertEqual(len(mailbox.messages()), 501)
        self.relayed(mailbox.address, "imap", 2, bytes_down=500 * 2000, bytes_up=2000)

    def test_fetchmail(self):
        for mode, tls in (("starttls", "sslproto TLS1.2+"), ("implicit", "ssl")):
            mailbox = self.filled("one", "two")
            (self.folder / mode).mkdir()
            deliver = f"cat > $(mktemp {self.folder}/{mode}/XXXXXXXX)"
            port = self.port(f"imap-{mode}")
            self.client(*recipes.fetchmail(self, "IMAP", port, mailbox.address, tls, "fetchall keep", deliver=deliver))
            self.downloaded(mode, "one", "two")
            self.relayed(mailbox.address, "imap", bytes_down=2 * 2000)

    def test_fetchmail_idle(self):
        mailbox = self.filled("before", domain="starttls.test")
        (self.folder / "out").mkdir()
        # Seen in out/ only once it is whole.
        deliver = f"cat > {self.folder}/$$ && mv {self.folder}/$$ {self.folder}/out/$$"
        port = self.port("imap-implicit")
        command = recipes.fetchmail(self, "IMAP", port, mailbox.address, "ssl keep idle", deliver=deliver)
        fetchmail = Child("fetchmail", [*command, "-vv"], self.folder, env=environment(self.folder))
        self.addCleanup(fetchmail.stop)
        fetchmail.wait_for(r"IMAP> \S+ IDLE")
        mailbox.deliver(message("pushed"))
        until(lambda: len(list((self.folder / "out").iterdir())) == 2, "the pushed message")
        self.downloaded("out", "before", "pushed")

    def test_getmail(self):
        mailbox = self.filled("one", "two")
        self.client(*recipes.getmail(self, "IMAP", self.port("imap-implicit"), mailbox.address))
        self.downloaded("out", "one", "two")
        self.relayed(mailbox.address, "imap", bytes_down=2 * 2000)

    def test_offlineimap(self):
        # Not by STARTTLS: with TLS 1.3 its library (imaplib2) now and then waits for ever there,
        # at Dovecot's own door as well; one thread writes while another reads the first tickets.
        mailbox = self.filled("one", "two", domain="starttls.test")
        configuration = self.file(
            "offlineimaprc",
            f"""
[general]
accounts = relay
metadata = {self.folder}/metadata
[Account relay]
localrepository = local
remoterepository = remote
[Repository local]
type = Maildir
localfolders = {self.folder}/out
[Repository remote]
type = IMAP
remotehost = localhost
remoteport = {self.port("imap-implicit")}
remoteuser = {mailbox.address}
remotepass = {PASSWORD}
ssl = yes
starttls = no
sslcacertfile = {self.ca}
""",
        )
        self.client("offlineimap", "-o", "-u", "basic", "-c", configuration)
        self.downloaded("out", "one", "two")

    def test_imapfilter(self):
        mailbox = self.filled("keep", "throw away")
        configuration = self.file(
            "config.lua",
            f"""
            account = IMAP {{ server = 'localhost', port = {self.port("imap-starttls")},
                username = '{mailbox.address}', password = '{PASSWORD}' }}
            account.INBOX:contain_subject('throw away'):delete_messages()
            """,
        )
        self.client("imapfilter", "-t", self.ca, "-c", configuration)
        self.assertEqual([digest(raw) for raw in mailbox.messages()], [digest(message("keep"))])
        self.assertIn("client_tls", self.relayed(mailbox.address, "imap")[0])

    def test_fdm(self):
        mailbox = self.filled("one", "two")
        fdm = recipes.fdm(self, ("imaps", self.port("imap-implicit"), ""), mailbox.address)
        self.client(*fdm, "-k", "fetch", SSL_CERT_FILE=str(self.ca))
        self.downloaded("out", "one", "two")
        self.relayed(mailbox.address, "imap", bytes_down=2 * 2000)

    def test_neomutt(self):
        mailbox = self.filled("one")
        configuration = self.file(
            "neomuttrc",
            f"""
            set ssl_starttls=yes ssl_force_tls=yes certificate_file="{self.ca}"
            set imap_user="{mailbox.address}" imap_pass="{PASSWORD}"
            set folder="{self.folder}" mbox_type=Maildir confirmappend=no confirmcreate=no delete=no quit=yes wait_key=no
            """,
        )
        keys = f"<copy-message>{self.folder}/out<enter><quit>"
        url = f"imap://localhost:{self.port('imap-starttls')}/INBOX"
        self.terminal("neomutt", "-n", "-F", configuration, "-f", url, "-e", f'push "{keys}"')
        self.downloaded("out", "one")
        self.relayed(mailbox.address, "imap")

    def test_s_nail(self):
        mailbox = self.filled("one", "two")
        user = mailbox.address.replace("@", "%40")
        url = f"imap://{user}:{PASSWORD}@localhost:{self.port('imap-starttls')}/INBOX"
        command = recipes.s_nail(self, "-S", "imap-use-starttls", "-R", "-f", url)
        self.client(*command, given=b"copy 1 2 mbox-out\nexit\n", MAILRC="/dev/null")
        mbox = (self.folder / "mbox-out").read_bytes()
        for name in ("one", "two"):
            self.assertIn(f"\nSubject: {name}\n".encode(), mbox)
            self.assertIn(message(name).replace(b"\r\n", b"\n").partition(b"From the")[0].partition(b"\n\n")[2], mbox)

    def test_perl(self):
        self.script("perl", "mail.pl")

    def test_ruby(self):
        self.script("ruby", "mail.rb")

    def test_imapflow(self):
        self.script("node", "mail.mjs")

    def script(self, interpreter, script):
        mailbox = self.filled("script")
        for mode in ("none", "starttls", "implicit"):
            port = self.port(f"imap-{mode}")
            file = self.folder / mode
            self.client(*recipes.script(self, interpreter, script, "imap", mode, port, mailbox.address, file))
            self.assertEqual(file.read_bytes(), message("script"))
        self.relayed(mailbox.address, "imap", 3, bytes_down=3 * 2000)

    def test_imapflow_idle(self):
        mailbox = self.world.mailbox("starttls.test")
        file = self.folder / "pushed"
        port = self.port("imap-starttls")
        command = recipes.script(self, "node", "mail.mjs", "imap", "starttls", port, mailbox.address, file)
        imapflow = Child("imapflow", command, self.folder)
        self.addCleanup(imapflow.stop)
        imapflow.wait_for("waiting")
        mailbox.deliver(message("pushed"))
        self.assertEqual(imapflow.exit_code(), 0, imapflow.log.read_text())
        self.assertEqual(file.read_bytes(), message("pushed"))

    def test_php(self):
        mailbox = self.filled("php")
        for flag, listener in (("notls", "imap-none"), ("tls/tls-sslv23", "imap-starttls"), ("ssl", "imap-implicit")):
            file = self.folder / listener
            command = recipes.script(self, "php", "mail.php", "imap", flag, self.port(listener), mailbox.address, file)
            self.client(*command)
            self.assertEqual(file.read_bytes(), message("php"))
        self.relayed(mailbox.address, "imap", 3, bytes_down=3 * 2000)
