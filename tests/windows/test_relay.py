"""`run` with a file as Windows' people write it: paths, reloads, the drain, the audit's chain."""

import contextlib
import imaplib
import json
import re
import subprocess
import time
import urllib.request

from process import until
from world import LINUX, PROGRAM, WindowsTest, curl, free_port, processes, small_disk, three_protocols, windows_path, wine


class RelayTest(WindowsTest):
    def page(self, ports, path):
        return urllib.request.urlopen(f"http://127.0.0.1:{ports['admin']}{path}", timeout=20).read().decode()

    def test_paths_of_windows_check_and_serve(self):
        sandbox = self.sandbox()
        ports = self.configure(sandbox)
        self.authrelay("check", "--config", self.config())
        self.relay()
        three_protocols(self, ports, sandbox)
        for name in ("key/state.key", "audit/audit.jsonl", "authrelay.log"):
            self.assertTrue((self.folder / name).exists(), name)
        metrics = self.page(ports, "/metrics")
        self.assertIn("authrelay_build_info", metrics)
        value = lambda name: float(re.search(rf"^process_{name} (\S+)$", metrics, re.MULTILINE)[1])
        self.assertLess(abs(time.time() - value("start_time_seconds")), 300)
        for name in ("cpu_seconds_total", "resident_memory_bytes", "virtual_memory_bytes"):
            self.assertGreater(value(name), 0, name)
        # Wine counts no handles.
        self.assertGreater(value("max_fds"), value("open_fds"))
        self.assertIn(sandbox.login, self.authrelay("accounts", "--config", self.config()))
        self.authrelay("health", "--config", self.config())
        self.authrelay("doctor", "--config", self.config())
        # The file is read while it is written.
        self.authrelay("audit", "verify", windows_path(self.folder / "audit" / "audit.jsonl"))

    def test_a_configuration_of_another_proxy_with_paths_of_windows_is_imported(self):
        file = self.folder / "emailproxy.config"
        file.write_text(
            "[Server setup]\r\n[IMAP-1993]\r\nserver_address = outlook.office365.com\r\nserver_port = 993\r\n"
            "local_address = 127.0.0.1\r\n[Account setup]\r\n[tickets@contoso.com]\r\n"
            "token_url = https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token\r\n"
            "oauth2_scope = https://outlook.office365.com/.default\r\noauth2_flow = client_credentials\r\n"
            "client_id = 11111111-2222-3333-4444-555555555555\r\n"
            "jwt_certificate_path = C:\\Users\\svc mail\\app.pem\r\njwt_key_path = C:\\Users\\svc mail\\app.key\r\n",
            newline="",
        )
        done = wine(PROGRAM, "import", windows_path(file))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("certificate: C:\\Users\\svc mail\\app.pem", done.stdout)
        # As PowerShell's redirection writes it.
        (self.folder / "proxy.yaml").write_bytes(done.stdout.encode("utf-16"))
        self.authrelay("check", "--no-secrets", "--config", self.config())

    def test_state_that_others_may_read_is_tightened_and_said(self):
        sandbox = self.sandbox()
        self.configure(sandbox)
        self.authrelay("accounts", "--config", self.config())
        key = self.folder / "key" / "state.key"
        for path in (self.folder / "state", key):
            path.chmod(0o755)
        said = self.authrelay("accounts", "--config", self.config())
        self.assertIn("state: others could read it (S-1-1-0)", said)
        self.assertEqual(key.stat().st_mode & 0o007, 0)
        self.assertNotIn("others could", self.authrelay("accounts", "--config", self.config()))

    def test_reload_by_command_after_a_broken_file_too(self):
        sandbox = self.sandbox()
        ports = self.configure(sandbox)
        self.relay()
        path = self.folder / "proxy.yaml"
        good = path.read_bytes()
        path.write_bytes(good.replace(b"protocol: pop3", b"protocol: pop4"))
        said = self.authrelay("reload", "--config", self.config(), code=78)
        self.assertIn("must be imap, pop3 or smtp", said)
        self.assertIn("Subject:", curl(f"pop3://127.0.0.1:{ports['pop3']}/1", sandbox))
        moved = str(int(ports["pop3"])).encode()
        new = free_port()
        path.write_bytes(good.replace(moved, str(new).encode()))
        self.assertIn("reloaded: 3 listeners", self.authrelay("reload", "--config", self.config()))
        self.assertIn("Subject:", curl(f"pop3://127.0.0.1:{new}/1", sandbox))
        self.assertIn("Subject:", curl(f"imap://127.0.0.1:{ports['imap']}/INBOX;MAILINDEX=1", sandbox))

    def test_reload_by_watch(self):
        sandbox = self.sandbox()
        ports = self.configure(sandbox, "reload: watch\n")
        self.relay()
        path = self.folder / "proxy.yaml"
        good = path.read_bytes()
        path.write_bytes(good.replace(b"level: debug", b"level: nothing"))
        until(lambda: self.records("configuration not reloaded: the old one stays in force"), "the broken file is refused")
        path.write_bytes(good.replace(b"reload: watch", b"reload: watch # touched"))
        until(lambda: self.records("configuration reloaded"), "the good file is taken")
        self.assertIn("Subject:", curl(f"imap://127.0.0.1:{ports['imap']}/INBOX;MAILINDEX=1", sandbox))

    def test_ctrl_c_drains_an_open_session(self):
        sandbox = self.sandbox()
        ports = self.configure(sandbox)
        relay = self.relay()
        client = imaplib.IMAP4("127.0.0.1", ports["imap"], timeout=30)
        client.login(sandbox.login, sandbox.password)
        client.select("INBOX")
        # Wine makes Ctrl-C of it.
        relay.interrupt()
        goodbye = client.readline()
        self.assertTrue(goodbye.startswith(b"* BYE"), goodbye)
        client.shutdown()
        self.assertEqual(relay.child.exit_code(), 0)
        (session,) = self.records("session")
        self.assertEqual((session["outcome"], session["closed_by"]), ("relayed", "authrelay"))
        self.assertTrue(self.records("stopped"))

    def test_the_audits_chain_goes_on_over_a_kill_a_rename_and_a_restart(self):
        sandbox = self.sandbox()
        ports = self.configure(sandbox)
        audit = self.folder / "audit" / "audit.jsonl"
        relay = self.relay()
        look = lambda: curl(f"imap://127.0.0.1:{ports['imap']}/INBOX;MAILINDEX=1", sandbox)
        whole = lambda path, count: until(lambda: len(path.read_text().split("\n")) > count, f"{count} records")
        look()
        whole(audit, 2)
        relay.kill()
        # As a crash in the middle of a record leaves it.
        with open(audit, "ab") as file:
            file.write(b'{"v":1,"time":"2026')
        relay = self.relay()
        look()
        whole(audit, 4)
        self.assertTrue((self.folder / "audit" / "audit.jsonl.torn").exists())
        # An open file may be renamed, as log rotation does.
        first = audit.with_name("audit-1.jsonl")
        audit.rename(first)
        (self.folder / "authrelay.log").rename(self.folder / "authrelay-1.log")
        self.authrelay("reload", "--config", self.config())
        look()
        whole(audit, 2)
        self.assertTrue(self.records("configuration reloaded"), "the log goes on in a new file")
        self.authrelay("audit", "verify", windows_path(first), windows_path(audit))
        relay.kill()
        done = subprocess.run([LINUX, "audit", "verify", first, audit], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        text = audit.read_bytes()
        audit.write_bytes(text.replace(b"accepted", b"Accepted", 1))
        self.authrelay("audit", "verify", windows_path(first), windows_path(audit), code=1)

    def test_a_full_disk_stops_nobody_and_breaks_no_chain(self):
        sandbox = self.sandbox()
        ports = self.configure(sandbox)
        audit = small_disk(self, self.folder / "audit") / "audit.jsonl"
        relay = self.relay()
        look = lambda: curl(f"imap://127.0.0.1:{ports['imap']}/INBOX;MAILINDEX=1", sandbox)
        look()
        until(lambda: audit.read_text().count("\n") == 2, "both records")
        ballast = audit.with_name("ballast")
        with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(512))
        logins = 1
        while not self.records("audit records cannot be written"):
            look()
            logins += 1
            self.assertLess(logins, 200, "the disk is not full")
        look()
        ballast.unlink()
        until(lambda: self.records("audit records are written again"), "the records are written")
        self.authrelay("reload", "--config", self.config())
        accepted = lambda: sum(json.loads(line)["event"] == "login" for line in audit.read_text().split("\n")[:-1])
        until(lambda: accepted() == logins + 1, f"{logins + 1} logins are on the record")
        relay.kill()
        self.authrelay("audit", "verify", windows_path(audit))

    def test_two_relays_do_not_share_an_audit_file(self):
        sandbox = self.sandbox()
        self.configure(sandbox)
        self.relay()
        path = self.folder / "proxy.yaml"
        text = path.read_text()
        for port in re.findall(r"127\.0\.0\.1:(\d+)'\}", text):
            text = text.replace(f"'127.0.0.1:{port}'}}", "'127.0.0.1:0'}", 1)
        path.write_text(text)
        said = self.authrelay("run", "--config", self.config(), code=74)
        self.assertIn("another process writes to it; give each its own file", said)

    def test_commands_print_secrets_and_end_with_what_they_started(self):
        sandbox = self.sandbox()
        script = self.folder / "print secret.cmd"
        script.write_text("@echo off\r\necho %~1\r\n")
        password = sandbox.password
        edit = lambda text: text.replace(f'password: "{password}"', "password: {command: ['.\\print secret.cmd', '%s']}" % password)
        ports = self.configure(sandbox, edit=edit)
        self.relay()
        self.assertIn("Subject:", curl(f"imap://127.0.0.1:{ports['imap']}/INBOX;MAILINDEX=1", sandbox))
        # One that hangs, and a child of it: both are gone when its time is over.
        (self.folder / "hangs").mkdir()
        other = self.folder / "hangs" / "proxy.yaml"
        head = "log: {file: ran.log}\nlisteners:\n  - {protocol: imap, bind: '127.0.0.1:0'}\n"
        other.write_text(head + sandbox.yaml.replace("'certs", "'..\\certs"))
        hangs = f"['cmd.exe', '/c', '{windows_path(PROGRAM)}', 'run', '--config', '{windows_path(other)}']"
        slow = lambda text: edit(text).replace("['.\\print secret.cmd', '%s']" % password, hangs)
        self.configure(sandbox, edit=slow)
        said = self.authrelay("check", "--config", self.config(), code=78)
        self.assertIn("did not end within 10 seconds", said)
        self.assertTrue((self.folder / "hangs" / "ran.log").exists(), "it never ran")
        self.assertEqual(processes("hangs"), [])

    def test_a_release_has_no_sandbox_and_says_how_to_get_one(self):
        said = self.authrelay("sandbox", "--imap", "0", "--fault", "list", code=64)
        self.assertIn("cargo run --release -- sandbox", said)
