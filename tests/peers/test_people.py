"""People who sign in to the status page at a real OpenID provider, in Chromium: an operator who tests an
account, a viewer who may not, somebody without a role; below a path of nginx too."""

import contextlib
import json
import os
import urllib.error
import urllib.request
from pathlib import Path

import test_consent
from browser import Chromium
from process import Child, until
from test_page import NGINX, TOKEN
from test_ways import answers, free_port

OPERATOR, VIEWER, NOBODY = "operator@people.test", "viewer@people.test", "nobody@people.test"


class SigningIn(test_consent.Consenting):
    def relay(self, name, port, public_url, **more):
        configuration = self.configuration("authorization_code")
        self.records = self.folder / f"{name}.jsonl"
        configuration |= {"audit": {"path": str(self.records)}} | more
        configuration["admin"] = {
            "bind": f"127.0.0.1:{port}",
            "public_url": public_url,
            "token": TOKEN,
            "users": {
                "issuer": f"https://localhost:{self.world.identity_provider.port}",
                "ca": str(self.ca),
                "client_id": "authrelay-sign-in",
                "client_secret": "the-secret-of-the-sign-in",
                "operators": [OPERATOR],
                # By a group, not by the address.
                "viewers": ["viewers"],
            },
        }
        return self.world.start(name, configuration)

    def sign_in(self, chromium, url, name):
        """From the relay's page to the provider's and back."""
        chromium.open(url)
        self.shot(chromium, "sign-in")
        chromium.click(chromium.find("a.button.main"))
        clicked = []

        def has_come_back():
            if chromium.url().startswith(url):
                return chromium.elements("#accounts, main h1.bad")
            for button in chromium.elements("button[type=submit]"):
                if button not in clicked:
                    clicked.append(button)
                    chromium.type("input[name=login]", name)
                    chromium.type("input[name=password]", name)
                    chromium.click(button)
                    break
            return False

        until(has_come_back, f"{name} at {url}")

    def says(self, chromium, *texts):
        def said():
            text = chromium.text()
            return text if all(one in text for one in texts) else None

        return until(said, f"{texts} on the page")

    def shot(self, chromium, name):
        """To be looked at where somebody asks for it."""
        if folder := os.environ.get("AUTHRELAY_SCREENSHOTS"):
            chromium.screenshot(Path(folder) / f"people-{name}.png")

    def actions(self):
        lines = [json.loads(line) for line in self.records.read_text().splitlines()]
        return [(line["person"], line["action"], line["outcome"]) for line in lines if line["event"] == "action"]


class People(SigningIn):
    def setUp(self):
        super().setUp()
        port = free_port()
        self.url = f"http://localhost:{port}/"
        self.enterContext(self.relay(f"people-{id(self)}", port, self.url.rstrip("/")))
        self.chromium = self.enterContext(Chromium(self.folder))

    def test_an_operator_tests_an_account_and_is_on_the_record(self):
        self.sign_in(self.chromium, self.url, OPERATOR)
        self.says(self.chromium, f"{OPERATOR}, operator")
        self.shot(self.chromium, "operator")
        self.chromium.click(self.chromium.find("article [data-do=test]"))
        self.says(self.chromium, "Not everything works")
        self.chromium.click(self.chromium.find("dialog form[method=dialog] button"))
        until(lambda: (OPERATOR, "test", "accepted") in self.actions(), "the record")
        self.chromium.open(f"{self.url}audit?event=action")
        text = self.says(self.chromium, "test", OPERATOR, "intact")
        self.chromium.resize(1200, 900)
        self.shot(self.chromium, "audit")
        self.assertIn("sign in", text)
        self.chromium.resize(400, 900)
        overflow = "return document.documentElement.scrollWidth > innerWidth"
        self.assertFalse(self.chromium.run(overflow))
        self.shot(self.chromium, "audit-narrow")
        self.chromium.resize(900, 600)
        self.chromium.click(self.chromium.find("form[action$=logout] button"))
        until(lambda: self.chromium.elements("#token"), "the way in")
        self.chromium.open(f"{self.url}audit")
        self.assertTrue(self.chromium.elements("#token"))
        until(lambda: (OPERATOR, "sign_out", "accepted") in self.actions(), "the record")

    def test_a_viewer_has_no_buttons_and_is_refused(self):
        self.sign_in(self.chromium, self.url, VIEWER)
        self.says(self.chromium, ", viewer")
        self.shot(self.chromium, "viewer")
        self.assertFalse(self.chromium.elements("[data-do]"))
        script = "return fetch('api/reload', {method: 'POST'}).then(async (answer) => [answer.status, await answer.text()])"
        status, text = self.chromium.run(script)
        self.assertEqual(status, 403, text)
        self.assertIn("admin.users.operators", text)
        until(lambda: [action[1:] for action in self.actions()][-1:] == [("reload", "refused")], "the record")

    def test_somebody_without_a_role_is_told_so(self):
        self.sign_in(self.chromium, self.url, NOBODY)
        text = self.says(self.chromium, "neither a viewer nor an operator", NOBODY)
        self.shot(self.chromium, "nobody")
        self.assertIn("Sign in with another account", text)
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{self.url}api/accounts")
        refused.exception.close()
        self.assertEqual(refused.exception.code, 401)


class PeopleBehindNginx(SigningIn):
    def test_the_way_in_below_a_path(self):
        for number, (path, host) in enumerate([("", ""), ("/", "proxy_set_header Host $http_host;")]):
            with self.subTest(path=path, host=host), contextlib.ExitStack() as stack:
                port, admin = free_port(), free_port()
                url = f"http://localhost:{port}/relay/"
                stack.enter_context(self.relay(f"people-nginx-{number}", admin, url.rstrip("/")))
                folder = self.folder / f"people-nginx-{number}"
                folder.mkdir()
                text = NGINX.format(folder=folder, port=port, admin=admin, path=path, host=host)
                (folder / "nginx.conf").write_text(text)
                command = ["/usr/sbin/nginx", "-p", folder, "-c", folder / "nginx.conf"]
                nginx = Child(f"people-nginx-{number}", command, self.folder)
                stack.callback(nginx.stop)
                until(lambda: answers(port), "nginx")
                chromium = stack.enter_context(Chromium(folder))
                self.sign_in(chromium, url, OPERATOR)
                self.assertEqual(chromium.url(), url)
                chromium.click(chromium.find("[data-do=reload]"))
                self.says(chromium, "Reloaded")
                chromium.click(chromium.find("a[href$=audit]"))
                self.says(chromium, "Hash chain", OPERATOR)


class NoAccounts(SigningIn):
    """How the page begins."""

    def test_the_first_steps(self):
        port = free_port()
        url = f"http://localhost:{port}/"
        with self.relay(f"first-{id(self)}", port, url.rstrip("/"), accounts=[], registrations={}), Chromium(self.folder) as chromium:
            self.sign_in(chromium, url, VIEWER)
            self.says(chromium, "authrelay init", "authrelay doctor LOGIN")
            chromium.resize(1200, 900)
            self.shot(chromium, "first-steps")
