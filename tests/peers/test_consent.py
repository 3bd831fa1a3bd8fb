"""People's consents with a real authorization server: PKCE, rotation with reuse detection, devices."""

import html
import http.cookiejar
import imaplib
import json
import re
import shutil
import ssl
import subprocess
import threading
import urllib.parse
import urllib.request

import dovecot
import relay
from browser import Chromium
from case import PASSWORD, PeerTest
from process import until


class Consenting(PeerTest):
    """What tests with a person's consent share."""

    def configuration(self, grant, client="authrelay-person"):
        """One account, whose owner has to consent."""
        world, self.client_id = self.world, client
        self.before = len(world.identity_provider.requests())
        self.login = f"{grant.replace('_', '-')}@{dovecot.PERSONS}"
        ports = {"imap": world.dovecot.ports["imaps"]}
        base = f"https://localhost:{world.identity_provider.port}"
        provider = relay.provider(world.certs, world.identity_provider.token_url, ports, "implicit")
        provider |= {"authorize_url": f"{base}/auth", "device_url": f"{base}/device/auth"}
        return {
            "state": {"directory": str(self.folder / "state")},
            "listeners": relay.listeners(world.certs, [("imap", "implicit")]),
            "providers": {"implicit": provider},
            "registrations": {
                "person": {
                    "provider": "implicit",
                    "client_id": client,
                    "grant": grant,
                    "scope": ["mail", "offline_access"],
                }
            },
            "accounts": [{"login": self.login, "registration": "person", "password": PASSWORD, "protocols": ["imap"]}],
        }

    def authorize(self, configuration, person):
        """`authrelay authorize`, while `person` does what it prints; what it printed in all."""
        file = self.file("authorize.yaml", json.dumps(configuration))
        command = [self.world.binary.path, "authorize", self.login, "--config", str(file)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        deadline = threading.Timer(60, child.kill)
        deadline.start()
        try:
            said = ""
            while not person.understands(said):
                line = child.stdout.readline()
                self.assertTrue(line, said)
                said += line
            person.act(said)
            said += child.stdout.read()
            self.assertEqual(child.wait(), 0, said)
        finally:
            deadline.cancel()
            child.kill()
            child.wait()
            child.stdout.close()
        return said

    def logs_in(self, name, configuration):
        """Through an authrelay that was started for it."""
        with self.world.start(name, configuration) as proxy:
            self.log_in(proxy)

    def logs_in_and_refreshes(self, name, configuration):
        """The same, until that has redeemed a refresh token."""
        with self.world.start(name, configuration) as proxy:
            self.log_in_until_refreshed(proxy, len(self.refreshes()) + 1)

    def log_in_until_refreshed(self, proxy, count):
        def refreshed():
            self.log_in(proxy)
            return len(self.refreshes()) >= count

        until(refreshed, f"{count} refresh tokens presented")

    def log_in(self, proxy):
        imap = imaplib.IMAP4_SSL("localhost", proxy.ports["imap-implicit"], ssl_context=self.tls(), timeout=60)
        try:
            imap.login(self.login, PASSWORD)
        except imaplib.IMAP4.error:
            imap.shutdown()
            raise
        self.assertEqual(imap.select()[0], "OK")
        imap.logout()

    def refreshes(self):
        """Those of this test."""
        requests = self.world.identity_provider.requests()[self.before :]
        return [request for request in requests if request["client"] == self.client_id and "refresh" in request]

    def assert_each_was_presented_once(self, requests):
        self.assertEqual({request["status"] for request in requests}, {200}, requests)
        self.assertEqual(len({request["refresh"] for request in requests}), len(requests), requests)


class Consent(Consenting):
    def test_a_browsers_consent_and_the_rotation_of_what_it_left(self):
        configuration = self.configuration("authorization_code", "authrelay-rotating")
        self.world.dovecot.mailbox(self.login)
        person = Browser(self.ca, self.login)
        said = self.authorize(configuration, person)
        self.assertIn("&code_challenge_method=S256&", said)
        self.assertIn(f"authorized: {self.login}", said)
        self.assertIn("Authorized", person.page)
        # The server ends a consent whose token is presented twice.
        for number in range(4):
            self.logs_in_and_refreshes(f"consent-{id(self)}-{number}", configuration)
        self.assertGreaterEqual(len(self.refreshes()), 4)
        self.assert_each_was_presented_once(self.refreshes())

    def test_a_consent_beside_a_relay_that_runs_and_refreshes_it(self):
        configuration = self.configuration("authorization_code", "authrelay-rotating")
        self.login = configuration["accounts"][0]["login"] = f"rotating@{dovecot.PERSONS}"
        self.world.dovecot.mailbox(self.login)
        with dovecot.listening() as bound:
            port = bound.getsockname()[1]
        configuration["admin"] = {"bind": f"127.0.0.1:{port}", "public_url": f"http://localhost:{port}"}
        with self.world.start(f"rotating-{id(self)}", configuration) as proxy:
            with self.assertRaisesRegex(imaplib.IMAP4.error, r"\[CONTACTADMIN\]"):
                self.log_in(proxy)
            person = Browser(self.ca, self.login)
            said = self.authorize(configuration, person)
            self.assertIn(f"authorized: {self.login}", said)
            # The relay's own listener showed the page.
            self.assertTrue(person.url.startswith(f"http://localhost:{port}/oauth/callback?"), person.url)
            self.assertIn("Authorized", person.page)
            self.log_in_until_refreshed(proxy, 4)
        self.logs_in_and_refreshes(f"rotating-again-{id(self)}", configuration)
        self.assert_each_was_presented_once(self.refreshes())

    def test_a_refresh_token_that_is_presented_twice_ends_the_consent(self):
        configuration = self.configuration("authorization_code", "authrelay-rotating")
        self.login = configuration["accounts"][0]["login"] = f"restored@{dovecot.PERSONS}"
        self.world.dovecot.mailbox(self.login)
        self.authorize(configuration, Browser(self.ca, self.login))
        state, backup = self.folder / "state", self.folder / "backup"
        shutil.copytree(state, backup)
        self.logs_in_and_refreshes(f"before-{id(self)}", configuration)
        # The backup's refresh token was redeemed since.
        shutil.rmtree(state)
        backup.rename(state)
        redeemed = self.refreshes()
        self.assert_each_was_presented_once(redeemed)

        def is_refused():
            """The backup's access token may be good for a moment."""
            try:
                self.log_in(proxy)
            except imaplib.IMAP4.error as error:
                return str(error)

        with self.world.start(f"restored-{id(self)}", configuration) as proxy:
            self.assertIn("[CONTACTADMIN]", until(is_refused, "the end of the consent"))
        requests = self.refreshes()[len(redeemed) :]
        self.assertEqual([request["status"] for request in requests], [400])
        self.assertEqual(requests[0]["refresh"], redeemed[0]["refresh"])
        file = self.file("accounts.yaml", json.dumps(configuration))
        [account] = json.loads(self.world.binary("accounts", "--json", "--config", file))
        self.assertEqual((account["consent"], account["token"]["state"]), ("needed", "refused"))
        # A new consent mends it.
        self.authorize(configuration, Browser(self.ca, self.login))
        self.logs_in(f"mended-{id(self)}", configuration)

    def test_a_person_at_chromium(self):
        configuration = self.configuration("authorization_code")
        self.login = configuration["accounts"][0]["login"] = f"chromium@{dovecot.PERSONS}"
        self.world.dovecot.mailbox(self.login)
        with Chromium(self.folder) as chromium:
            person = AtChromium(chromium, self.login)
            said = self.authorize(configuration, person)
            self.assertIn(f"authorized: {self.login}", said)
            self.assertIn("Authorized", person.text)
            self.assertIn(f"authrelay may now open the mailbox {self.login}", person.text)
            self.assertNotEqual(person.width, "none", "the page has its style")
        self.logs_in(f"chromium-{id(self)}", configuration)

    def test_a_device_code(self):
        configuration = self.configuration("device_code")
        self.world.dovecot.mailbox(self.login)
        said = self.authorize(configuration, Device(self.ca, self.login))
        self.assertIn(f"authorized: {self.login}", said)
        self.logs_in(f"device-{id(self)}", configuration)


class Browser:
    """Follows links, keeps cookies, fills in the server's forms."""

    def __init__(self, ca, name):
        self.name = name
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca))
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), cookies, tls)

    def understands(self, said):
        return re.search(r"^https://\S+$", said, re.MULTILINE)

    def act(self, said):
        self.walk(self.understands(said)[0])

    def walk(self, url):
        """Until a page without a form."""
        self.open(url)
        for _ in range(6):
            if "<form" not in self.page:
                return
            action = re.search(r'action="([^"]+)"', self.page)
            target = urllib.parse.urljoin(self.url, html.unescape(action[1])) if action else self.url
            fields = {}
            for field in re.findall(r"<input[^>]*>", self.page):
                name = re.search(r'name="([^"]+)"', field)
                value = re.search(r'value="([^"]*)"', field)
                if name:
                    fields[name[1]] = html.unescape(value[1]) if value else ""
            self.fill(fields)
            self.open(target, urllib.parse.urlencode(fields).encode())

    def fill(self, fields):
        for name in {"login", "password"} & fields.keys():
            fields[name] = self.name

    def open(self, url, form=None):
        with self.opener.open(url, form, timeout=30) as answer:
            self.url, self.page = answer.url, answer.read().decode()


class AtChromium:
    """Clicks through the pages, as a person does."""

    def __init__(self, chromium, name):
        self.chromium, self.name = chromium, name

    def understands(self, said):
        return re.search(r"^https://\S+$", said, re.MULTILINE)

    def act(self, said):
        self.chromium.open(self.understands(said)[0])
        clicked = []
        try:
            until(lambda: self.has_come_back(clicked), "the end of the consent")
        except AssertionError as error:
            raise AssertionError(f"{self.chromium.url()} {self.chromium.text()!r}") from error
        self.text = self.chromium.text()
        script = "return getComputedStyle(document.querySelector('main')).maxWidth"
        self.width = self.chromium.ask("POST", "/execute/sync", {"script": script, "args": []})

    def has_come_back(self, clicked):
        """If not, does what the page asks for. A click may return before its page is left, or
        while the next one is still empty: no button is clicked twice."""
        if "/oauth/callback" in self.chromium.url():
            return self.chromium.elements("main p")
        for button in self.chromium.elements("button[type=submit]"):
            if button not in clicked:
                clicked.append(button)
                self.chromium.type("input[name=login]", self.name)
                self.chromium.type("input[name=password]", self.name)
                self.chromium.click(button)
                break
        return False


class Device(Browser):
    """Types the code that was printed on another device."""

    def understands(self, said):
        return re.search(r"^Open\s+(\S+)\nEnter\s+(\S+)$", said, re.MULTILINE)

    def act(self, said):
        place, self.code = self.understands(said).groups()
        self.walk(place)

    def fill(self, fields):
        super().fill(fields)
        if "user_code" in fields and not fields["user_code"]:
            fields["user_code"] = self.code
