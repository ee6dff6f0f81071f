"""A Python workspace on the disk, and an index of one's own, made with nothing but the standard
library.
"""

import base64
import hashlib
import os
import zipfile

# A build backend that needs nothing: what `pip install -e` and `uv sync` ask of it, docs of PEP 517
# and 660.
BACKEND = """
import os, zipfile
NAME, SCRIPT = %r, %r
def build(directory, files):
    info = NAME + "-1.0.dist-info/"
    files = dict(files)
    files[info + "METADATA"] = "Metadata-Version: 2.1\\nName: %%s\\nVersion: 1.0\\n" %% NAME
    files[info + "WHEEL"] = "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    if SCRIPT:
        files[info + "entry_points.txt"] = "[console_scripts]\\n%%s = %%s:main\\n" %% (SCRIPT, NAME)
    files[info + "RECORD"] = "".join("%%s,,\\n" %% each for each in list(files) + [info + "RECORD"])
    name = NAME + "-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return name
def build_wheel(directory, settings=None, metadata=None):
    return build(directory, {NAME + "/__init__.py": open("src/%%s/__init__.py" %% NAME).read()})
def build_editable(directory, settings=None, metadata=None):
    EXTRA
    return build(directory, {"_%%s.pth" %% NAME: os.path.abspath("src") + "\\n"})
"""


def package(name, code, script="", extra="pass", dependencies=()):
    """The files of a package of the workspace, by their paths in it. `extra`: what its build does
    besides.
    """
    return {
        "pyproject.toml": '[project]\nname = "%s"\nversion = "1.0"\nrequires-python = ">=3.8"\ndependencies = %s\n\n[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        % (name, list(dependencies)),
        "backend.py": (BACKEND % (name, script)).replace("EXTRA", extra),
        "src/%s/__init__.py" % name: code,
    }


def write(directory, files):
    for path, text in files.items():
        path = os.path.join(directory, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)


def wheel(directory, name, version, files, scripts=""):
    """A wheel in a simple index (PEP 503) below a directory."""
    info = "%s-%s.dist-info/" % (name, version)
    files = dict(files)
    files[info + "METADATA"] = "Metadata-Version: 2.1\nName: %s\nVersion: %s\n" % (name, version)
    files[info + "WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    if scripts:
        files[info + "entry_points.txt"] = "[console_scripts]\n%s\n" % scripts
    record = "".join(
        "%s,sha256=%s,%d\n" % (path, digest(text), len(text)) for path, text in files.items()
    )
    files[info + "RECORD"] = record + info + "RECORD,,\n"
    file = "%s-%s-py3-none-any.whl" % (name, version)
    os.makedirs(os.path.join(directory, name))
    with zipfile.ZipFile(os.path.join(directory, name, file), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    with open(os.path.join(directory, name, file), "rb") as archive:
        sha256 = hashlib.sha256(archive.read()).hexdigest()
    with open(os.path.join(directory, name, "index.html"), "w") as page:
        page.write('<a href="%s#sha256=%s">%s</a>' % (file, sha256, file))


def digest(text):
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
