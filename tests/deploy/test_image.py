"""The image of deploy/Containerfile, by hand: no container engine is asked for. A root with what the
final stage copies, the mounts of the pod in deploy/kubernetes/standalone.yaml, its user, its
restrictions and its configuration; the upstream is reached by name.
"""

import ctypes
import json
import os
import re
import shlex
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request

import yaml
from world import DEPLOY, STATIC, DeployTest, ports, run

HERE = os.path.dirname(os.path.abspath(__file__))


def final_stage():
    """The instructions of the last stage, each as (name, rest)."""
    text = (DEPLOY / "Containerfile").read_text().rpartition("FROM ")[2]
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    assert lines[0] == "scratch"
    return [tuple(line.split(" ", 1)) for line in lines[1:] if line and not line.startswith("#")]


def documents(name):
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text()))


def of_kind(documents, kind):
    (found,) = [document for document in documents if document["kind"] == kind]
    return found


def system_calls(filters):
    """The calls that `SystemCallFilter=` allows."""

    def members(name):
        calls = set()
        for line in run("systemd-analyze", "syscall-filter", name).splitlines()[1:]:
            word = line.strip()
            if word.startswith("@"):
                calls |= members(word)
            elif word and not word.startswith("#"):
                calls.add(word)
        return calls

    calls = set()
    for entry in filters:
        if entry.startswith("~"):
            for name in entry[1:].split():
                calls -= members(name)
        else:
            for name in entry.split():
                calls |= members(name) if name.startswith("@") else {name}
    return sorted(calls)


class Image(DeployTest):
    def setUp(self):
        super().setUp()
        self.service = self.emulation()
        self.root = self.folder / "root"
        self.root.mkdir()
        self.manifest = documents("standalone.yaml")
        self.pod = of_kind(self.manifest, "Deployment")["spec"]["template"]["spec"]
        (self.container,) = self.pod["containers"]

    def build(self):
        """What the final stage makes: the command, the environment and the user."""
        stage = final_stage()
        environment = {}
        for name, rest in stage:
            if name == "COPY":
                *options, source, destination = rest.split()
                target = self.root / destination.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                if source == "/image/authrelay":
                    shutil.copy(STATIC, target)
                elif source == "/image/doc":
                    target.mkdir()
                else:
                    self.assertEqual(source, "/image/state")
                    target.mkdir(mode=0o700)
                    (owner,) = [o.partition("=")[2] for o in options if o.startswith("--chown=")]
                    os.chown(target, *map(int, owner.split(":")))
            elif name == "HEALTHCHECK":
                self.health = json.loads(rest.partition(" CMD ")[2])
            elif name == "ENV":
                environment.update([rest.split("=", 1)])
        words = dict(stage)
        command = json.loads(words["ENTRYPOINT"]) + json.loads(words["CMD"])
        return command, environment, tuple(map(int, words["USER"].split(":")))

    def mount(self, contents):
        """The pod's volumes as the kubelet makes them; mounts as (source, target, options)."""
        group = self.pod["securityContext"]["fsGroup"]
        volumes = {volume["name"]: volume for volume in self.pod["volumes"]}
        mounts = []
        for mount in self.container["volumeMounts"]:
            volume = volumes[mount["name"]]
            source = self.folder / "volumes" / mount["name"]
            source.mkdir(parents=True)
            os.chown(source, 0, group)
            os.chmod(source, 0o2777)
            for name, content in contents.get(mount["name"], {}).items():
                (source / name).write_bytes(content if isinstance(content, bytes) else content.encode())
                os.chown(source / name, 0, group)
                # fsGroup lets the group read what the owner may read.
                mode = volume["secret"]["defaultMode"] if "secret" in volume else 0o644
                os.chmod(source / name, mode | (mode & 0o400) >> 3)
            target = self.root / mount["mountPath"].lstrip("/")
            target.mkdir(parents=True, exist_ok=True)
            mounts.append((source, target, "ro" if mount.get("readOnly") else "rw"))
        return mounts

    def launch(self, mounts, command, environment, user):
        # What every runtime adds.
        (self.root / "proc").mkdir()
        (self.root / "etc").mkdir(exist_ok=True)
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        (self.root / "etc/resolv.conf").write_text("")
        unit = (DEPLOY / "systemd/authrelay.service").read_text()
        description = {
            "root": str(self.root),
            "user": user[0],
            "group": user[1],
            "groups": [self.pod["securityContext"]["fsGroup"]],
            "calls": system_calls(re.findall(r"^SystemCallFilter=(.*)$", unit, re.MULTILINE)),
            "command": command,
            "environment": environment,
        }
        root = shlex.quote(str(self.root))
        steps = [
            "set -e",
            f"mount --bind {root} {root}",
            f"mount -o remount,ro,bind,nosuid,nodev {root}",
            f"mount -t proc proc {root}/proc",
        ]
        for source, target, options in mounts:
            source, target = shlex.quote(str(source)), shlex.quote(str(target))
            steps += [f"mount --bind {source} {target}", f"mount -o remount,{options},bind,nosuid,nodev {target}"]
        given = self.folder / "description.json"
        given.write_text(json.dumps(description))
        launcher = shlex.quote(os.path.join(HERE, "launch.py"))
        steps.append(f"exec /usr/bin/python3 -B {launcher} <{shlex.quote(str(given))}")
        return self.start(
            "authrelay", ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(steps)]
        )

    def test_r41_a_static_binary_alone_as_nobody_without_capabilities_on_a_read_only_root(self):
        command, environment, user = self.build()
        certs = self.folder / "certs"
        run(STATIC, "certs", "--directory", certs)
        configuration = self.service.fill(
            of_kind(self.manifest, "ConfigMap")["data"]["proxy.yaml"], "/etc/authrelay/ca.pem"
        )
        mounts = self.mount(
            {
                "config": {"proxy.yaml": json.dumps(configuration), "ca.pem": self.service.ca},
                "secrets": self.service.secrets(STATIC),
                "tls": {
                    "tls.crt": (certs / "server.pem").read_bytes(),
                    "tls.key": (certs / "server.key").read_bytes(),
                },
            }
        )
        self.assertNotIn(b"INTERP", subprocess.run(["readelf", "-lW", STATIC], capture_output=True, check=True).stdout)
        relay = self.launch(mounts, command, environment, user)

        found = ports(relay, 3)
        with open(f"/proc/{relay.process.pid}/status", encoding="ascii") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        self.assertEqual(status["Name"], "authrelay")
        self.assertEqual(status["Uid"].split(), ["65532"] * 4)
        self.assertEqual(status["Gid"].split(), ["65532"] * 4)
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertEqual(int(status[name], 16), 0, name)
        self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
        with open(f"/proc/{relay.process.pid}/mountinfo", encoding="ascii") as file:
            (own,) = [line.split() for line in file if line.split()[4] == "/"]
        self.assertIn("ro", own[5].split(","))

        tls = ssl.create_default_context(cafile=str(certs / "ca.pem"))
        self.service.use(found, tls)
        self.probes(found["admin"])
        # landlock_create_ruleset(2) for its version alone.
        landlock = ctypes.CDLL(None).syscall(444, None, 0, 1) > 0
        self.assertIn('"confined by the kernel' if landlock else '"not confined: ', relay.log.read_text())
        # The image's health check, inside of it.
        self.assertEqual(self.health, ["/authrelay", "health", *command[3:]])
        # Only the volume was written to, and by nobody else than it should be.
        state = self.folder / "volumes/state/state"
        self.assertEqual((state.stat().st_uid, state.stat().st_mode & 0o777), (65532, 0o700))
        self.assertEqual(relay.stop(), 0)
        self.assertNotRegex(relay.log.read_text(), r'"level":"(WARN|ERROR)"')

    def probes(self, port):
        """What the kubelet asks, which looks at no certificate."""
        blind = ssl._create_unverified_context()
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = self.container[name]["httpGet"]
            self.assertEqual((probe["scheme"], probe["port"]), ("HTTPS", "admin"))
            url = f"https://127.0.0.1:{port}{probe['path']}"
            with urllib.request.urlopen(url, context=blind, timeout=30) as answer:
                self.assertEqual(answer.status, 200)
        with self.assertRaises(urllib.error.HTTPError):
            urllib.request.urlopen(f"https://127.0.0.1:{port}/api/accounts", context=blind, timeout=30)

    def test_the_build_stage_is_the_script_that_is_tested(self):
        text = (DEPLOY / "Containerfile").read_text()
        self.assertIn("\nRUN deploy/container/root /image\n", text)
        version = re.search(r'^rust-version = "(.*)"$', (DEPLOY.parent / "Cargo.toml").read_text(), re.MULTILINE)
        self.assertIn(f"\nFROM docker.io/library/rust:{version[1]}-bookworm AS build\n", text)
