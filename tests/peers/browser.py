"""Debian's Chromium without a screen, driven by its chromedriver (W3C WebDriver)."""

import base64
import json
import urllib.request

from process import Child

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Chromium:
    def __init__(self, folder, *arguments):
        self.folder, self.arguments = folder, arguments

    def start_driver(self):
        """Starts chromedriver on a port that the system picks. It binds the port of IPv6 for IPv4, too, where another
        process may have it: then it ends, and is started again."""
        variables = {"HOME": str(self.folder), "PATH": "/usr/bin:/bin"}
        for attempt in range(5):
            self.driver = Child(f"chromedriver-{attempt}", ["chromedriver", "--port=0"], self.folder, env=variables)
            try:
                return self.driver.wait_for(r"started successfully on port (\d+)")[0][1]
            except AssertionError:
                self.driver.stop()
                if attempt == 4 or "Address already in use" not in self.driver.log.read_text():
                    raise

    def __enter__(self):
        port = self.start_driver()
        try:
            self.base = f"http://127.0.0.1:{port}/session"
            arguments = [
                "--headless=new",
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--disable-gpu",
                "--window-size=900,600",
                f"--user-data-dir={self.folder}/profile",
                *self.arguments,
            ]
            # The test's own authority is not in Chromium's store.
            always = {"acceptInsecureCerts": True, "goog:chromeOptions": {"args": arguments}}
            self.base += "/" + self.ask("POST", "", {"capabilities": {"alwaysMatch": always}})["sessionId"]
        except BaseException:
            self.driver.stop()
            raise
        return self

    def __exit__(self, *_):
        try:
            self.ask("DELETE", "")
        finally:
            self.driver.stop()

    def ask(self, method, path, body=None):
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(self.base + path, data, {"content-type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, url):
        self.ask("POST", "/url", {"url": url})

    def elements(self, selector):
        found = self.ask("POST", "/elements", {"using": "css selector", "value": selector})
        return [element[ELEMENT] for element in found]

    def type(self, selector, text):
        for element in self.elements(selector):
            # The server may have filled it in from the hint.
            self.ask("POST", f"/element/{element}/clear")
            self.ask("POST", f"/element/{element}/value", {"text": text})

    def click(self, element):
        self.ask("POST", f"/element/{element}/click")

    def find(self, selector):
        """The only element."""
        (element,) = self.elements(selector)
        return element

    def press(self, keys):
        """Keys of the keyboard, to whatever has the focus."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]})

    def run(self, script, *arguments):
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def resize(self, width, height):
        """The page, whatever a window's frame takes."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)

    def scheme(self, scheme):
        """`light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", {"features": features})

    def scripts(self, allowed):
        self.devtools("Emulation.setScriptExecutionDisabled", {"value": not allowed})

    def devtools(self, command, parameters):
        return self.ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self.ask("GET", "/screenshot")))

    def text(self):
        return self.run("return document.body.innerText")

    def url(self):
        return self.ask("GET", "/url")
