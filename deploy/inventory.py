"""Finishes what a release contains: inventory.py SBOM TREE LICENSES.

SBOM is cargo-cyclonedx' (CycloneDX JSON). It names optional crates that only other features use; those that
TREE does not have (`cargo tree`, a crate a line) are taken out, and so are paths of this machine. LICENSES is
written: the licences of the rest with their texts, which are files in the crates' sources. deny.toml says which
licences are allowed. The same sources give the same octets."""

import contextlib
import json
import pathlib
import re
import subprocess
import sys

TEXT = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense|patents)", re.IGNORECASE)
NO_TEXT = re.compile(r"\.(rs|toml|html|hbs|json|py)$", re.IGNORECASE)
RULE = "=" * 80


def texts(folder, named):
    """The files of a crate that are about its licence."""
    places = [folder, folder / "LICENSES", folder / "licenses"]
    files = {path for place in places if place.is_dir() for path in place.iterdir()}
    found = {path for path in files if TEXT.match(path.name) or path.parent != folder}
    if named:
        found.add(folder / named)
    return [path for path in sorted(found) if path.is_file() and not NO_TEXT.search(path.name)]


def prune(sbom, used):
    """Leaves only the crates that are used."""
    kept = [part for part in sbom["components"] if (part["name"], part["version"]) in used]
    root = sbom["metadata"]["component"]["bom-ref"]
    known = {part["bom-ref"] for part in kept} | {root}
    sbom["components"] = kept
    sbom["dependencies"] = [
        {key: [ref for ref in value if ref in known] if key == "dependsOn" else value for key, value in entry.items()}
        for entry in sbom["dependencies"]
        if entry["ref"] in known
    ]


def main():
    path, tree, licenses = map(pathlib.Path, sys.argv[1:])
    text = path.read_text(encoding="utf-8")
    # The folder of the sources, as cargo writes it: blanks and others encoded.
    folder, _, _ = json.loads(text)["metadata"]["component"]["bom-ref"].partition("#")
    sbom = json.loads(text.replace(folder, "path+file:///authrelay"))
    lines = tree.read_text(encoding="utf-8").splitlines()
    prune(sbom, {tuple(line.replace(" v", " ", 1).split()[:2]) for line in lines if line})
    path.write_text(json.dumps(sbom, indent=1) + "\n", encoding="utf-8")
    with licenses.open("w", encoding="utf-8") as file, contextlib.redirect_stdout(file):
        print_licenses(sbom["components"])


def print_licenses(components):
    wanted = sorted({(component["name"], component["version"]) for component in components})
    command = ["cargo", "metadata", "--locked", "--format-version=1"]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    packages = {(package["name"], package["version"]): package for package in metadata["packages"]}

    users, bare = {}, []
    print("authrelay contains these crates, under these licences. Their texts follow.\n")
    for key in wanted:
        package = packages[key]
        name = " ".join(key)
        print(f"{name}: {package['license'] or package['license_file']}  {package['repository'] or ''}".rstrip())
        found = texts(pathlib.Path(package["manifest_path"]).parent, package["license_file"])
        for path in found:
            text = "\n".join(line.rstrip() for line in path.read_text(errors="replace").strip("\ufeff\n\r ").splitlines())
            users.setdefault(text, []).append(name)
        if not found:
            bare.append((name, package))
    for text, names in sorted(users.items(), key=lambda entry: entry[1]):
        print(f"\n{RULE}\n{', '.join(dict.fromkeys(names))}\n{RULE}\n{text}")
    if bare:
        print(f"\n{RULE}\nWithout a text of their own; those of the same names above apply\n{RULE}")
    for name, package in bare:
        authors = ", ".join(re.sub(r" *<[^>]*>", "", author) for author in package["authors"])
        print(f"{name}: {package['license']}; copyright {authors or 'its authors'}")


main()
