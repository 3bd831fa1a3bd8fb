"""What releases say about themselves: the SBOM, the list of dependencies in the binary, the licences, the image's labels."""

import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import zlib

import jsonschema
import referencing
from world import DEB, DEPLOY, STATIC, TREE, DeployTest, run

TRIPLE = "x86_64-unknown-linux-gnu"
EPOCH = 1_700_000_000


def schemas():
    """CycloneDX's own schemas, which its Python library brings along."""
    found = next(pathlib.Path(folder) / "cyclonedx/schema/_res" for folder in sys.path if (pathlib.Path(folder) / "cyclonedx").is_dir())
    read = lambda name: json.loads((found / f"{name}.SNAPSHOT.schema.json").read_text())
    names = ("bom-1.5", "spdx", "jsf-0.82")
    pairs = [(schema["$id"], referencing.Resource.from_contents(schema)) for schema in map(read, names)]
    return read("bom-1.5"), referencing.Registry().with_resources(pairs)


def crates_of(binary):
    """The packages of a binary's section .dep-v0, which `cargo auditable` wrote: root and all."""
    done = subprocess.run(
        ["objcopy", "--dump-section", ".dep-v0=/dev/stdout", binary, "/dev/null"], capture_output=True, check=True
    )
    return json.loads(zlib.decompress(done.stdout))["packages"]


def tree(edges):
    """Crates of the features that releases have, as cargo itself resolves them."""
    words = ["--locked", "--offline", "--no-default-features", "--target", TRIPLE, "--edges", edges, "--prefix", "none", "--format", "{p}"]
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:{os.path.expanduser('~/.cargo/bin')}"}
    lines = run("cargo", "tree", *words, cwd=TREE, env=environment).splitlines()
    return {tuple(line.replace(" v", " ", 1).split()[:2]) for line in lines if line}


class Papers(DeployTest):
    def setUp(self):
        super().setUp()
        run("dpkg-deb", "--extract", DEB, self.folder)
        self.binary = self.folder / "usr/bin/authrelay"
        documents = self.folder / "usr/share/doc/authrelay"
        self.sbom = json.loads((documents / "authrelay.cdx.json").read_text())
        self.components = {(part["name"], part["version"]) for part in self.sbom["components"]}
        with gzip.open(documents / "THIRD-PARTY-LICENSES.txt.gz", "rt", encoding="utf-8") as file:
            self.licenses = file.read()

    def test_the_sbom_is_valid_by_its_schema(self):
        schema, registry = schemas()
        validator = jsonschema.Draft7Validator(schema, registry=registry)
        validator.validate(self.sbom)
        self.sbom["components"][0]["type"] = "nonsense"
        self.assertFalse(validator.is_valid(self.sbom))

    def test_the_sbom_has_every_crate_with_checksum_and_licence_and_no_path(self):
        everything = tree("normal,build") - {("authrelay", self.sbom["metadata"]["component"]["version"])}
        self.assertEqual(self.components, everything)
        for part in self.sbom["components"]:
            with self.subTest(name=part["name"]):
                self.assertEqual([entry["alg"] for entry in part["hashes"]], ["SHA-256"])
                self.assertTrue(part["licenses"])
                self.assertEqual(part["purl"], f"pkg:cargo/{part['name']}@{part['version']}")
        text = json.dumps(self.sbom)
        self.assertNotIn(str(TREE), text)
        self.assertIn("path+file:///authrelay#", text)

    def test_binaries_list_their_dependencies(self):
        linked = tree("normal,no-proc-macro")
        locked = (TREE / "Cargo.lock").read_text()
        for binary in (self.binary, STATIC):
            packages = crates_of(binary)
            (root,) = [package for package in packages if package.get("root")]
            self.assertEqual(root["name"], "authrelay")
            runtime = {(package["name"], package["version"]) for package in packages if package.get("kind", "runtime") == "runtime"}
            with self.subTest(binary=binary):
                self.assertEqual(linked - runtime, set())
                # cargo's metadata, which it is made of, has optional crates of other features besides.
                for name, version in runtime - linked:
                    self.assertTrue(f'name = "{name}"\nversion = "{version}"\n' in locked, f"{name} {version}")

    def test_licences_of_every_crate_are_there_with_their_texts(self):
        for name, version in self.components:
            self.assertRegex(self.licenses, rf"(?m)^{re.escape(name)} {re.escape(version)}: \S")
        for text in ("Apache License", "THE SOFTWARE IS PROVIDED", "OpenSSL"):
            self.assertIn(text, self.licenses)


class Image(DeployTest):
    def make(self, name):
        """An image archive of a root that is laid out anew; its octets."""
        root = self.folder / name / "root"
        (root / "doc").mkdir(parents=True)
        (root / "state").mkdir()
        (root / "authrelay").write_bytes(b"the binary")
        (root / "doc/authrelay.cdx.json").write_text("{}")
        archive = self.folder / f"{name}.tar"
        known = {"VERSION": "1.2.3", "AUTHRELAY_REVISION": "0123456789ab", "SOURCE_DATE_EPOCH": str(EPOCH)}
        run(DEPLOY / "container/image", archive, f"amd64={root}", f"arm64={root}", env={**os.environ, **known})
        return archive.read_bytes()

    def test_the_archive_is_an_oci_layout_and_always_the_same(self):
        octets = self.make("one")
        self.assertEqual(octets, self.make("two"))
        with tarfile.open(fileobj=io.BytesIO(octets)) as archive:
            files = {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}
            self.assertTrue(all(entry.mtime == EPOCH and entry.uid == 0 for entry in archive))
        self.assertEqual(json.loads(files["oci-layout"]), {"imageLayoutVersion": "1.0.0"})

        def blob(descriptor):
            name = descriptor["digest"].replace("sha256:", "blobs/sha256/")
            self.assertEqual(hashlib.sha256(files[name]).hexdigest(), descriptor["digest"].partition(":")[2])
            self.assertEqual(len(files[name]), descriptor["size"])
            return files[name]

        (index,) = json.loads(files["index.json"])["manifests"]
        manifests = json.loads(blob(index))["manifests"]
        self.assertEqual([entry["platform"]["architecture"] for entry in manifests], ["amd64", "arm64"])
        manifest = json.loads(blob(manifests[0]))
        config = json.loads(blob(manifest["config"]))
        (layer,) = manifest["layers"]
        layer = gzip.decompress(blob(layer))
        self.assertEqual(config["rootfs"]["diff_ids"], ["sha256:" + hashlib.sha256(layer).hexdigest()])
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            entries = {entry.name: (entry.mode, entry.uid, entry.mtime) for entry in tar}
        self.assertEqual(entries["authrelay"], (0o755, 0, EPOCH))
        self.assertEqual(entries["var/lib/authrelay"], (0o700, 65532, EPOCH))
        self.assertEqual(entries["usr/share/doc/authrelay/authrelay.cdx.json"], (0o644, 0, EPOCH))
        self.assertEqual(list(entries), sorted(entries))

        labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["config"]["Labels"].items()}
        self.assertEqual((labels["version"], labels["revision"]), ("1.2.3", "0123456789ab"))
        self.assertEqual((labels["created"], labels["licenses"]), ("2023-11-14T22:13:20Z", "MIT OR Apache-2.0"))
        self.assertEqual(config["config"]["User"], "65532:65532")
        self.assertEqual(config["config"]["Entrypoint"], ["/authrelay"])
        self.assertEqual(config["config"]["Healthcheck"]["Test"][:3], ["CMD", "/authrelay", "health"])
        self.assertEqual(config["config"]["Healthcheck"]["Interval"], 10_000_000_000)
