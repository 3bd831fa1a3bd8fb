"""The Debian package: installed, tried, upgraded, removed and purged, on this very machine."""

import json
import os
import pathlib
import pwd
import re
import shlex
import shutil
import stat
import subprocess
import urllib.request

from world import DEB, DeployTest, ports, run, until

BINARY = pathlib.Path("/usr/bin/authrelay")
CONFIGURATION = pathlib.Path("/etc/authrelay")
STATE = pathlib.Path("/var/lib/authrelay")
UNITS = pathlib.Path("/lib/systemd/system")
EXAMPLE = pathlib.Path("/usr/share/doc/authrelay/examples/proxy.yaml")
ROTATION = pathlib.Path("/etc/logrotate.d/authrelay")
ENABLED = pathlib.Path("/etc/systemd/system/multi-user.target.wants/authrelay.service")


def user_exists():
    try:
        pwd.getpwnam("authrelay")
    except KeyError:
        return False
    return True


def install():
    for path in (BINARY, CONFIGURATION, STATE):
        assert not path.exists(), f"{path} is there already: this is no machine to try the package on"
    assert not user_exists(), "there is a user authrelay already: this is no machine to try the package on"
    run("apt-get", "install", "--quiet", "--yes", "--no-install-recommends", DEB, env=quiet())


def purge():
    run("dpkg", "--purge", "authrelay")


def quiet():
    return {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}


def left():
    """What of the package is still there."""
    unit_links = pathlib.Path("/etc/systemd/system").glob("*/authrelay.*")
    remembered = pathlib.Path("/var/lib/systemd/deb-systemd-helper-enabled").rglob("authrelay.*")
    files = [BINARY, CONFIGURATION, STATE, ROTATION, EXAMPLE.parents[1], *UNITS.glob("authrelay.*"), *unit_links, *remembered]
    found = [str(path) for path in files if path.exists() or path.is_symlink()]
    return found + (["the user"] if user_exists() else [])


def as_service(*command):
    """`command` as the user, without capabilities, as the unit has it."""
    return [
        *("setpriv", "--reuid=authrelay", "--regid=authrelay", "--init-groups"),
        *("--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", *command),
    ]


class Installed(DeployTest):
    """Installed once, looked at, gone afterwards."""

    @classmethod
    def setUpClass(cls):
        install()
        cls.addClassCleanup(purge)

    def test_user_directories_and_modes(self):
        user = pwd.getpwnam("authrelay")
        self.assertEqual(user.pw_shell, "/usr/sbin/nologin")
        self.assertNotEqual(user.pw_uid, 0)

        def owner(path):
            status = path.stat()
            return (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))

        self.assertEqual(owner(CONFIGURATION), (0, user.pw_gid, 0o750))
        self.assertEqual(owner(CONFIGURATION / "credentials"), (0, 0, 0o700))
        self.assertEqual(owner(BINARY), (0, 0, 0o755))
        # Nothing that fails to start, and nothing started.
        self.assertFalse((CONFIGURATION / "proxy.yaml").exists())
        run("authrelay", "check", "--no-secrets", "--config", EXAMPLE)

    def test_unit(self):
        for unit in ("authrelay.service", "authrelay.socket"):
            run("systemd-analyze", "verify", UNITS / unit)
            done = subprocess.run(
                ["systemctl", "--root=/", "is-enabled", unit], capture_output=True, text=True, check=False
            )
            self.assertEqual(done.stdout, "disabled\n", unit)
        run("systemd-analyze", "security", "--offline=true", "--threshold=15", UNITS / "authrelay.service")

    def test_there_is_no_sandbox(self):
        done = subprocess.run([BINARY, "sandbox", "--imap", "0"], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (64, ""))
        self.assertIn("cargo run --release -- sandbox", done.stderr)

    def test_the_manual_is_whole(self):
        """Links of the pages that came along lead to files that came along, but for those about the code."""
        folder = EXAMPLE.parents[1]
        of_the_code = {"ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE-MIT", "LICENSE-APACHE", "proxy.yaml", "benches"}
        pages = list(folder.rglob("*.md"))
        self.assertGreater(len(pages), 25)
        for page in pages:
            if page.parent == folder and page.name != "README.md":
                continue
            text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
            for link in re.findall(r"\]\(([^)#\s]+)", text):
                if "://" not in link:
                    target = pathlib.Path(os.path.normpath(page.parent / link))
                    known = target.relative_to(folder).parts[0] in of_the_code
                    self.assertTrue(known or target.exists(), f"{page}: {link}")

    def test_manual_page(self):
        page = run("man", "--warnings", "authrelay", env={**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8"})
        self.assertIn("authrelay", page)
        for command in ("run", "doctor", "hash-password"):
            self.assertIn(f"authrelay-{command}(1)", page)

    def test_completions(self):
        script = "/usr/share/bash-completion/completions/authrelay"
        offered = run(
            "bash",
            "-c",
            f"source {script}; COMP_WORDS=(authrelay hash); COMP_CWORD=1; "
            '$(complete -p authrelay | sed "s/.*-F \\([^ ]*\\).*/\\1/") authrelay hash authrelay; echo "${COMPREPLY[@]}"',
        )
        self.assertEqual(offered.split(), ["hash-password"])
        cache = self.folder / "zcompdump"
        offered = run("zsh", "-fc", f"autoload -U compinit; compinit -u -d {cache}; print $_comps[authrelay]")
        self.assertEqual(offered, "_authrelay\n")
        run("zsh", "-fc", "autoload -U +X _authrelay")
        offered = run("fish", "-c", 'complete -C "authrelay hash"', env={"HOME": str(self.folder)})
        self.assertRegex(offered, r"^hash-password\b")


class Comings(DeployTest):
    """Installed for each test."""

    def setUp(self):
        super().setUp()
        install()
        self.addCleanup(purge)

    def test_the_example_serves_as_the_unit_runs_it(self):
        service = self.emulation()
        unit = (UNITS / "authrelay.service").read_text()
        (command,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
        self.assertEqual(re.findall(r"^User=(.*)$", unit, re.MULTILINE), ["authrelay"])
        ((name, source),) = re.findall(r"^LoadCredential=(.*):(.*)$", unit, re.MULTILINE)
        group = pwd.getpwnam("authrelay").pw_gid

        authority = CONFIGURATION / "ca.pem"
        authority.write_bytes(service.ca)
        file = CONFIGURATION / "proxy.yaml"
        file.write_text(json.dumps(service.fill(EXAMPLE.read_text(), str(authority))))
        for path in (file, authority):
            os.chown(path, 0, group)
            path.chmod(0o640)
        for secret, text in service.secrets(BINARY).items():
            path = pathlib.Path(source) / secret
            path.write_text(text)
            path.chmod(0o600)
        # StateDirectory=.
        STATE.mkdir(mode=0o700)
        shutil.chown(STATE, "authrelay", "authrelay")

        # LoadCredential=, in a /run that only the service sees.
        credentials = "/run/credentials/authrelay.service"
        steps = [
            "set -e",
            "mount -t tmpfs -o mode=755 tmpfs /run",
            f"install -d -m 0550 -g authrelay {credentials}",
            f"for file in {source}/*; do "
            f'install -m 0440 -g authrelay "$file" {credentials}/{name}_"$(basename "$file")"; done',
            "exec " + shlex.join(as_service("env", f"STATE_DIRECTORY={STATE}", *command.split())),
        ]
        relay = self.start(
            "authrelay", ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(steps)]
        )
        found = ports(relay, 3)
        with open(f"/proc/{relay.process.pid}/status", encoding="ascii") as status:
            self.assertIn(f"\nUid:\t{pwd.getpwnam('authrelay').pw_uid}\t", status.read())
        service.use(found)
        with urllib.request.urlopen(f"http://127.0.0.1:{found['admin']}/readyz", timeout=30) as answer:
            self.assertEqual(answer.status, 200)
        self.assertEqual(relay.stop(), 0)
        self.assertNotRegex(relay.log.read_text(), r'"level":"(WARN|ERROR)"')

        # What the service may not: read what systemd hands out, change its own configuration.
        for refused in (["cat", f"{source}/helpdesk"], ["touch", str(file)]):
            done = subprocess.run(as_service(*refused), capture_output=True, check=False)
            self.assertNotEqual(done.returncode, 0, refused)

    def test_an_upgrade_restarts_what_runs_and_leaves_what_was_changed(self):
        (CONFIGURATION / "proxy.yaml").write_text("changed")
        CONFIGURATION.chmod(0o700)
        shims, called = self.folder / "shims", self.folder / "called"
        shims.mkdir()
        for name in ("systemctl", "deb-systemd-invoke"):
            shim = shims / name
            shim.write_text(f'#!/bin/sh\necho {name} "$@" >>{called}\n')
            shim.chmod(0o755)

        def dpkg(*arguments):
            """Where systemd runs, or seems to; what it was told."""
            called.write_text("")
            script = f"mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && dpkg {shlex.join(arguments)}"
            path = f"{shims}:/usr/sbin:/usr/bin:/sbin:/bin"
            command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
            run(*command, env={**quiet(), "PATH": path})
            return [line for line in called.read_text().splitlines() if "daemon-reload" not in line]

        self.assertEqual(dpkg("--install", str(DEB)), ["deb-systemd-invoke try-restart authrelay.service"])
        self.assertEqual((CONFIGURATION / "proxy.yaml").read_text(), "changed")
        self.assertEqual(stat.S_IMODE(CONFIGURATION.stat().st_mode), 0o700)
        self.assertEqual(
            dpkg("--remove", "authrelay"), ["deb-systemd-invoke stop authrelay.socket authrelay.service"]
        )
        purge()
        # The first installation restarts nothing, and starts nothing.
        self.assertEqual(dpkg("--install", str(DEB)), [])

    def test_remove_keeps_what_is_the_administrators_and_purge_leaves_nothing(self):
        (CONFIGURATION / "proxy.yaml").write_text("log: {}\n")
        (CONFIGURATION / "credentials/helpdesk").write_text("secret")
        STATE.mkdir(mode=0o700)
        (STATE / "key").write_text("key")
        shutil.chown(STATE, "authrelay", "authrelay")
        run("systemctl", "--root=/", "enable", "authrelay.service")
        self.assertTrue(ENABLED.is_symlink())

        run("dpkg", "--remove", "authrelay")
        self.assertFalse(BINARY.exists())
        credentials = CONFIGURATION / "credentials"
        for kept in (CONFIGURATION / "proxy.yaml", credentials / "helpdesk", STATE / "key", ROTATION):
            self.assertTrue(kept.exists(), kept)
        self.assertTrue(user_exists())

        purge()
        until(lambda: left() == [], f"a purge that leaves nothing: {left()}", seconds=1)
