"""Endpoints that are not what they should be."""

import http.server
import select
import socket
import ssl
import threading
import urllib.request


class Watched:
    """A listener that answers nobody and knows whether anybody has come: a connection counts from
    the moment the client has it, since the kernel completes it."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def visited(self):
        return bool(select.select([self.socket], [], [], 0)[0])


class TokenDoor:
    """A token endpoint on loopback without TLS, which refuses connections until it is opened;
    from then on it is the identity provider's."""

    def __init__(self, identity_provider, ca):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/token"
        self.target, self.tls = identity_provider.token_url, ssl.create_default_context(cafile=ca)
        self.server = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.server:
            self.server.shutdown()
        self.socket.close()

    def open(self):
        target, tls = self.target, self.tls

        class Forward(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = urllib.request.Request(target, body, {"Content-Type": self.headers["Content-Type"]})
                with urllib.request.urlopen(request, context=tls) as answer:
                    token = answer.read()
                self.send_response(200)
                self.send_header("Content-Length", str(len(token)))
                self.end_headers()
                self.wfile.write(token)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(self.socket.getsockname(), Forward, bind_and_activate=False)
        self.server.socket.close()
        self.server.socket = self.socket
        self.server.server_activate()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
