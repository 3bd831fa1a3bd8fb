"""Refresh tokens that are good once, and a relay that is killed at any moment: nothing is lost."""

import http.server
import imaplib
import json
import re
import ssl
import threading
import time
import urllib.parse
import urllib.request

from world import WindowsTest

ROUNDS = 20


class Endpoint(http.server.ThreadingHTTPServer):
    """A token endpoint. A redeemed refresh token is taken again only as long as its successor was not: a
    relay that is killed before it has the answer cannot know that."""

    def __init__(self, sandbox):
        super().__init__(("127.0.0.1", 0), Handler)
        self.newest, self.redemptions, self.lost = 0, 0, []
        self.turn = threading.Lock()
        yaml = sandbox.yaml
        tenant, client = re.search(r"tenant: (\S+)", yaml)[1], re.search(r"client_id: (\S+)", yaml)[1]
        self.secret = re.search(r'client_secret: "(\S+)"', yaml)[1]
        self.client = client
        self.upstream = f"{sandbox.token_url}{tenant}/oauth2/v2.0/token"
        self.tls = ssl.create_default_context(cafile=sandbox.ca)

    def access_token(self):
        """One that the emulated mail service takes."""
        form = {
            "grant_type": "client_credentials", "client_id": self.client, "client_secret": self.secret,
            "scope": "https://outlook.office365.com/.default",
        }
        request = urllib.request.Request(self.upstream, urllib.parse.urlencode(form).encode())
        with urllib.request.urlopen(request, timeout=20, context=self.tls) as answer:
            return json.load(answer)["access_token"]

    def redeem(self, shown):
        with self.turn:
            if shown:
                number = int(shown.rpartition("-")[2])
                if number + 1 < self.newest:
                    self.lost.append(shown)
                    return None
                self.redemptions += 1
                self.newest = number
            self.newest += 1
            return f"refresh-{self.newest}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        successor = self.server.redeem(form.get("refresh_token"))
        status, answer = 400, {"error": "invalid_grant"}
        if successor:
            # Good for one login: the next one redeems again.
            status, answer = 200, {
                "access_token": self.server.access_token(), "token_type": "Bearer", "expires_in": 1,
                "refresh_token": successor, "scope": "offline_access",
            }
        text = json.dumps(answer).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        except OSError:
            pass  # It was killed.

    def log_message(self, *_):
        pass


class RotationTest(WindowsTest):
    def test_kills_in_mid_rotation_lose_no_refresh_token(self):
        sandbox = self.sandbox()
        endpoint = Endpoint(sandbox)
        thread = threading.Thread(target=endpoint.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(endpoint.server_close)
        self.addCleanup(endpoint.shutdown)

        def edit(text):
            text = re.sub(r'token_url: "\S+"', f'token_url: "http://127.0.0.1:{endpoint.server_port}/token"\n    refresh_tokens: one_use', text)
            text = text.replace("grant: client_credentials", "grant: authorization_code")
            return re.sub(r'    client_secret: "\S+"\n', "", text)

        ports = self.configure(sandbox, edit=edit)
        relay = self.relay()
        self.consent(ports, sandbox)
        relay.kill()
        relay = self.relay()
        began = time.monotonic()
        self.assertEqual(self.log_in(ports, sandbox), "OK")
        span = max(0.05, 1.5 * (time.monotonic() - began))
        relay.kill()
        for round in range(ROUNDS):
            relay = self.relay()
            # The moment of the kill goes through the whole of a login.
            killer = threading.Timer(span * round / ROUNDS, relay.kill)
            killer.start()
            try:
                self.log_in(ports, sandbox)
            except (OSError, imaplib.IMAP4.error):
                pass  # Killed before it answered.
            killer.join()
            if round % 5 == 4:
                relay = self.relay()
                self.assertEqual(self.log_in(ports, sandbox), "OK", f"round {round}")
                relay.kill()
        self.assertEqual(endpoint.lost, [])
        self.assertGreater(endpoint.redemptions, ROUNDS // 2)

    def log_in(self, ports, sandbox):
        client = imaplib.IMAP4("127.0.0.1", ports["imap"], timeout=30)
        try:
            return client.login(sandbox.login, sandbox.password)[0]
        finally:
            client.shutdown()

    def consent(self, ports, sandbox):
        """As a person's browser: to the identity provider and back."""
        base = f"http://localhost:{ports['admin']}"
        token = (self.folder / "state" / "admin-token").read_text().strip()
        request = urllib.request.Request(
            f"{base}/api/accounts/{sandbox.login}/authorize", b"", {"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            url = json.load(answer)["url"]
        state = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["state"][0]
        back = urllib.parse.urlencode({"code": "the-code", "state": state})
        with urllib.request.urlopen(f"{base}/oauth/callback?{back}", timeout=20) as answer:
            self.assertEqual(answer.status, 200)
