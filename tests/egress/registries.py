"""Registries with one package each, as directories of files: registries.py DIRECTORY npm=HOST pip=HOST pip-files=HOST cargo=HOST apt=HOST git=HOST

Whatever hosts the clients of this machine are set to: none is written here.
"""

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile

TOP = sys.argv[1]
HOSTS = dict(word.split("=", 1) for word in sys.argv[2:])
NAME, VERSION = "clawjail-demo", "1.0.0"


def put(client, path, content):
    path = os.path.join(TOP, HOSTS[client], path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())


def tarball(files):
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(plain.getvalue(), mtime=0)


def npm():
    about = {"name": NAME, "version": VERSION, "main": "index.js"}
    packed = tarball({"package/package.json": json.dumps(about), "package/index.js": "module.exports = 'by npm'\n"})
    where = f"{NAME}/-/{NAME}-{VERSION}.tgz"
    dist = {"tarball": f"https://{HOSTS['npm']}/{where}", "shasum": hashlib.sha1(packed).hexdigest()}
    versions = {VERSION: {**about, "dist": dist}}
    put("npm", f"{NAME}/index.html", json.dumps({"name": NAME, "dist-tags": {"latest": VERSION}, "versions": versions}))
    put("npm", where, packed)


def pip():
    wheel, name = io.BytesIO(), NAME.replace("-", "_")
    info = f"{name}-{VERSION}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "said = 'by pip'\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{name}/__init__.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    file = f"{name}-{VERSION}-py3-none-any.whl"
    put("pip-files", f"packages/{file}", wheel.getvalue())
    digest = hashlib.sha256(wheel.getvalue()).hexdigest()
    put("pip", f"simple/{NAME}/index.html", f'<a href="https://{HOSTS["pip-files"]}/packages/{file}#sha256={digest}">{file}</a>')


def cargo():
    about = f'[package]\nname = "{NAME}"\nversion = "{VERSION}"\nedition = "2021"\n'
    packed = tarball({f"{NAME}-{VERSION}/Cargo.toml": about, f"{NAME}-{VERSION}/src/lib.rs": "\n"})
    put("cargo", "config.json", json.dumps({"dl": f"https://{HOSTS['cargo']}/crates/{{crate}}-{{version}}.crate", "api": None}))
    line = {"name": NAME, "vers": VERSION, "deps": [], "cksum": hashlib.sha256(packed).hexdigest(), "features": {}, "yanked": False}
    put("cargo", f"{NAME[:2]}/{NAME[2:4]}/{NAME}", json.dumps(line) + "\n")
    put("cargo", f"crates/{NAME}-{VERSION}.crate", packed)


def apt():
    package = b"not looked into by a download\n"
    put("apt", f"clawjail/{NAME}.deb", package)
    about = {"Package": NAME, "Version": VERSION, "Architecture": "all", "Maintainer": "Test", "Filename": f"./{NAME}.deb"}
    about |= {"Size": len(package), "SHA256": hashlib.sha256(package).hexdigest(), "Description": "test"}
    put("apt", "clawjail/Packages", "".join(f"{key}: {value}\n" for key, value in about.items()))


def git():
    work, there = os.path.join(TOP, "work"), os.path.join(TOP, HOSTS["git"], "demo.git")
    run = lambda *words: subprocess.run(["git", "-c", "user.name=Test", "-c", "user.email=test@example.org", *words], check=True)
    run("init", "--quiet", "--initial-branch=main", work)
    with open(os.path.join(work, "README"), "w") as file:
        file.write("by git\n")
    run("-C", work, "add", ".")
    run("-C", work, "commit", "--quiet", "--message", "first")
    run("clone", "--quiet", "--bare", work, there)
    run("-C", there, "update-server-info")


for make in (npm, pip, cargo, apt, git):
    make()
