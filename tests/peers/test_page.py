"""The status page in Chromium: consent from click to stored token, a connection that fails, and how
the page looks and works at any width, in the dark, by keyboard and without its script."""

import contextlib
import imaplib
import os
from pathlib import Path

import dovecot
import test_consent
from browser import Chromium
from case import PASSWORD
from process import Child, until
from test_ways import answers, free_port

TOKEN = "the-admin-token-of-the-page"
# WebDriver's code points.
TAB, ENTER, ESCAPE = "\ue004", "\ue007", "\ue00c"


class Page(test_consent.Consenting):
    def setUp(self):
        super().setUp()
        configuration = self.configuration("authorization_code")
        self.login = configuration["accounts"][0]["login"] = f"page-{self.id().rpartition('.')[2]}@{dovecot.PERSONS}"
        self.world.dovecot.mailbox(self.login)
        with dovecot.listening() as bound:
            port = bound.getsockname()[1]
        # Nobody listens there.
        with dovecot.listening() as bound:
            closed = bound.getsockname()[1]
        provider = configuration["providers"]["implicit"]
        configuration["providers"]["closed"] = provider | {"imap": {**provider["imap"], "port": closed}}
        person = configuration["registrations"]["person"]
        configuration["registrations"]["closed"] = person | {"provider": "closed"}
        self.failing = f"closed-{self.login}"
        account = configuration["accounts"][0]
        configuration["accounts"].append(account | {"login": self.failing, "registration": "closed"})
        configuration["admin"] = {
            "bind": f"127.0.0.1:{port}",
            "public_url": f"http://localhost:{port}",
            "token": TOKEN,
        }
        self.url = f"http://localhost:{port}/"
        self.proxy = self.enterContext(self.world.start(f"page-{id(self)}", configuration))
        self.chromium = self.enterContext(Chromium(self.folder))

    def log_in_at_the_page(self):
        self.chromium.open(self.url)
        self.chromium.type("#token", TOKEN)
        self.chromium.click(self.chromium.find("main button"))
        until(lambda: self.chromium.elements("#accounts"), "the page")

    def button(self, do, login):
        return self.chromium.find(f'article[data-login="{login}"] [data-do={do}]')

    def says(self, *texts):
        def said():
            text = self.chromium.text()
            return text if all(one in text for one in texts) else None

        return until(said, f"{texts} on the page")

    def shot(self, name):
        """To be looked at where somebody asks for it."""
        if folder := os.environ.get("AUTHRELAY_SCREENSHOTS"):
            self.chromium.screenshot(Path(folder) / f"{name}.png")

    def test_a_wrong_token_opens_nothing(self):
        self.chromium.open(self.url)
        self.assertNotIn(self.login, self.chromium.run("return document.documentElement.outerHTML"))
        self.chromium.type("#token", "a-guess")
        self.chromium.click(self.chromium.find("main button"))
        self.says("That is not the token.")
        self.shot("wrong-token")
        self.assertNotIn(self.login, self.chromium.run("return document.documentElement.outerHTML"))

    def test_from_the_click_to_the_stored_token_and_back(self):
        self.log_in_at_the_page()
        self.says("needed")
        self.chromium.click(self.button("authorize", self.login))
        self.says("Waiting for the consent")
        loaded = "const image = document.querySelector('dialog img'); return image.complete && image.naturalWidth > 0"
        until(lambda: self.chromium.run(loaded), "the QR code")
        self.shot("authorize")
        link = self.chromium.run("return document.querySelector('dialog a').href")
        # In a window of its own, as the link opens one.
        page = self.chromium.ask("GET", "/window")
        other = self.chromium.ask("POST", "/window/new", {"type": "tab"})["handle"]
        self.chromium.ask("POST", "/window", {"handle": other})
        person = test_consent.AtChromium(self.chromium, self.login)
        person.understands = lambda said: [said]
        person.act(link)
        self.assertIn("Authorized", person.text)
        self.chromium.ask("DELETE", "/window")
        self.chromium.ask("POST", "/window", {"handle": page})
        self.says("Authorized.")
        self.log_in(self.proxy)
        self.chromium.click(self.chromium.find("dialog form[method=dialog] button"))
        self.says("given", "valid")
        self.chromium.click(self.button("forget", self.login))
        self.chromium.click(self.chromium.find("#dialog-body button"))
        self.says("Forgotten.")
        with self.assertRaisesRegex(imaplib.IMAP4.error, r"\[CONTACTADMIN\]"):
            self.log_in(self.proxy)

    def test_a_connection_that_fails_says_where_and_what_to_do(self):
        self.log_in_at_the_page()
        self.chromium.click(self.button("test", self.failing))
        text = self.says("Not everything works")
        self.shot("test-fails")
        self.assertIn("✓ dns", text)
        self.assertIn("✗ tcp", text)
        self.assertTrue(self.chromium.elements("dialog .failed .remedy"), text)

    def test_every_width_the_dark_and_no_script(self):
        with self.assertRaisesRegex(imaplib.IMAP4.error, r"\[CONTACTADMIN\]"):
            self.log_in(self.proxy)
        self.log_in_at_the_page()
        for scheme in ("light", "dark"):
            self.chromium.scheme(scheme)
            for width in (400, 1400):
                self.chromium.resize(width, 900)
                self.shot(f"{scheme}-{width}")
                overflow = "return document.documentElement.scrollWidth > innerWidth"
                self.assertFalse(self.chromium.run(overflow), f"{scheme} {width}")
        background = "return getComputedStyle(document.body).backgroundColor"
        dark = self.chromium.run(background)
        self.chromium.scheme("light")
        self.assertNotEqual(self.chromium.run(background), dark)
        self.chromium.scripts(False)
        self.chromium.open(self.url)
        text = self.chromium.text()
        self.shot("without-script")
        for there in (self.login, "identity_provider: refused", "no one has consented", "Listeners", "imap-implicit"):
            self.assertIn(there, text)
        # What needs the script is not offered without it.
        self.assertNotIn("Test connection", text)

    def test_by_keyboard(self):
        self.chromium.open(self.url)
        # The field has the focus.
        self.chromium.press(TOKEN + ENTER)
        until(lambda: self.chromium.elements("#accounts"), "the page")
        focused = "return document.activeElement.id"
        for _ in range(20):
            self.chromium.press(TAB)
            if self.chromium.run(focused) == f"test-{self.failing}":
                break
        outline = "return getComputedStyle(document.activeElement).outlineStyle"
        self.assertEqual(self.chromium.run(outline), "solid")
        self.chromium.press(ENTER)
        self.says("Not everything works")
        self.chromium.press(ESCAPE)
        self.assertFalse(self.chromium.run("return document.getElementById('dialog').open"))
        # The focus is where it was.
        self.assertEqual(self.chromium.run(focused), f"test-{self.failing}")

    def test_it_keeps_itself_fresh_and_takes_nothing_from_elsewhere(self):
        self.log_in_at_the_page()
        self.says("Sessions open now: 0")
        # Left in the middle of its login.
        imap = imaplib.IMAP4_SSL("localhost", self.proxy.ports["imap-implicit"], ssl_context=self.tls(), timeout=60)
        self.says("Sessions open now: 1")
        imap.shutdown()
        self.says("Sessions open now: 0")
        sources = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
        for source in self.chromium.run(sources):
            self.assertTrue(source.startswith(self.url), source)
        with self.assertRaisesRegex(imaplib.IMAP4.error, "AUTHENTICATIONFAILED"):
            imaplib.IMAP4_SSL("localhost", self.proxy.ports["imap-implicit"], ssl_context=self.tls()).login(
                self.login, f"not-{PASSWORD}"
            )
        self.says("client: 1")
        self.assertTrue(self.chromium.elements("#faults svg rect.client"))


NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location /relay/ {{
            proxy_pass http://127.0.0.1:{admin}{path};
            {host}
        }}
    }}
}}
"""


class BehindNginx(test_consent.Consenting):
    """Below a path of a web server, which passes the path and the Host on, or not."""

    def test_the_page_works_below_a_path(self):
        for number, (path, host) in enumerate(
            [("", ""), ("/", ""), ("", "proxy_set_header Host $http_host;"), ("/", "proxy_set_header Host $http_host;")]
        ):
            with self.subTest(path=path, host=host), contextlib.ExitStack() as stack:
                self.works_below_a_path(stack, number, path, host)

    def works_below_a_path(self, stack, number, path, host):
        configuration = self.configuration("authorization_code")
        login = configuration["accounts"][0]["login"] = f"nginx-{number}@{dovecot.PERSONS}"
        self.world.dovecot.mailbox(login)
        port, admin = free_port(), free_port()
        configuration["admin"] = {
            "bind": f"127.0.0.1:{admin}",
            "public_url": f"http://localhost:{port}/relay",
            "token": TOKEN,
        }
        stack.enter_context(self.world.start(f"nginx-{number}", configuration))
        folder = self.folder / f"nginx-{number}"
        folder.mkdir()
        text = NGINX.format(folder=folder, port=port, admin=admin, path=path, host=host)
        (folder / "nginx.conf").write_text(text)
        nginx = Child(f"nginx-{number}", ["/usr/sbin/nginx", "-p", folder, "-c", folder / "nginx.conf"], self.folder)
        stack.callback(nginx.stop)
        until(lambda: answers(port), "nginx")
        chromium = stack.enter_context(Chromium(folder))
        chromium.open(f"http://localhost:{port}/relay/")
        chromium.type("#token", TOKEN)
        chromium.click(chromium.find("main button"))
        until(lambda: chromium.elements("#accounts"), "the page")
        self.assertEqual(chromium.url(), f"http://localhost:{port}/relay/")
        background = chromium.run("return getComputedStyle(document.querySelector('.card')).borderTopStyle")
        self.assertEqual(background, "solid", "the style is there")
        chromium.click(chromium.find("[data-do=reload]"))
        until(lambda: "Reloaded" in chromium.text(), "the reload")
        if folder := os.environ.get("AUTHRELAY_SCREENSHOTS"):
            chromium.screenshot(Path(folder) / f"nginx-{number}.png")
        chromium.click(chromium.find("form[action$=logout] button"))
        until(lambda: chromium.elements("#token"), "the form")
        self.assertEqual(chromium.url(), f"http://localhost:{port}/relay/")
