"""Prints the licences of everything that a release contains, with their texts: licenses.py SBOM.

The crates are those of the SBOM (CycloneDX JSON); texts are the files in their sources, which cargo has
already. deny.toml says which licences are allowed. The same sources give the same octets."""

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


def main():
    components = json.load(open(sys.argv[1], encoding="utf-8"))["components"]
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
