"""How `uv pip install` does what `pip install` does: pip's settings and the options of requirements
files as uv's.
"""

from __future__ import annotations

import os
import re

from . import pip_settings, requirements

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping, TypedDict

    class Options(TypedDict):
        """What requirements files say to the installer. `index`: URLs; `trusted`: hosts; `hashed`:
        whether a requirement has a hash; `foreign`: an option that uv does not know.
        """

        index: list[str]
        trusted: list[str]
        hashed: bool
        pre: bool
        foreign: str | None


# What uv understands in a requirements file as pip does.
UNDERSTOOD = re.compile(
    r"(?:-[rceif](?![a-z])"
    r"|--(?:requirement|constraint|editable|index-url|extra-index-url|no-index|find-links"
    r"|no-binary|only-binary|require-hashes)(?=[\s=]|$))"
)
INDEX = re.compile(r"(?:-i|--index-url)(?:\s*=\s*|\s+)(\S+)")
TRUSTED = re.compile(r"--trusted-host(?:\s+|=)(\S+)")
HASH = re.compile(r"\s--hash[\s=]")
OF_REQUIREMENT = re.compile(r"\s(--(?!hash[\s=])[a-z-]+)")

# Settings of pip that change nothing in what is installed.
WITHOUT_EFFECT = {
    "disable-pip-version-check",
    "no-input",
    "progress-bar",
    "no-color",
    "quiet",
    "verbose",
    "root-user-action",
    "cache-dir",
    "no-cache-dir",
    "break-system-packages",
    "require-virtualenv",
    "no-python-version-warning",
    "no-warn-script-location",
    "no-warn-conflicts",
    "log",
    "exists-action",
    "no-compile",
    "compile",
    "no-clean",
    "debug",
    "no-cache",
}
# pip's option, the variable of uv: the values are lists of the same form.
LISTS = {
    "extra-index-url": "UV_EXTRA_INDEX_URL",
    "constraint": "UV_CONSTRAINT",
    "build-constraint": "UV_BUILD_CONSTRAINT",
    "trusted-host": "UV_INSECURE_HOST",
}
FLAGS = {
    "pre": ["--prerelease", "allow"],
    "no-index": ["--no-index"],
    "require-hashes": ["--require-hashes"],
    "no-deps": ["--no-deps"],
}
VALUES = {
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "retries": "UV_HTTP_RETRIES",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
}


class Unfit(Exception):
    """Why pip installs a project's packages, and not uv."""


class Installer:
    """`arguments` and `variables` of `uv pip install`, by which it installs as pip would; a
    variable that is None is unset. `required`: pip is no alternative.
    """

    def __init__(
        self, arguments: list[str], variables: dict[str, str | None], required: bool
    ) -> None:
        self.arguments, self.variables, self.required = arguments, variables, required


def options_of(paths: list[str], work: str) -> Options:
    """The options in requirements files; their names in messages are relative to `work`."""
    found: Options = {"index": [], "trusted": [], "hashed": False, "pre": False, "foreign": None}
    for path in paths:
        for line in requirements.lines(requirements.read(path)):
            foreign = read_line(line, found)
            if foreign:
                found["foreign"] = "%s in %s" % (foreign, os.path.relpath(path, work))
    return found


def read_line(line: str, found: Options) -> str | None:
    """Adds the options of a line of a requirements file to `found`. Returns one that uv does not
    know.
    """
    if not line.startswith("-") or requirements.EDITABLE.match(line):
        found["hashed"] = found["hashed"] or HASH.search(line) is not None
        option = OF_REQUIREMENT.search(line)
        return option.group(1) if option else None
    trusted = TRUSTED.match(line)
    index = INDEX.match(line)
    if trusted:
        found["trusted"].append(trusted.group(1))
    elif line == "--pre":
        found["pre"] = True
    elif not UNDERSTOOD.match(line):
        return re.split(r"[\s=]", line)[0]
    elif index:
        found["index"].append(index.group(1).strip("\"'"))
    return None


def translate(
    settings: Mapping[str, str], options: Options, variables: Mapping[str, str]
) -> tuple[list[str], dict[str, str | None]]:
    """(arguments, variables) for `uv pip install`, by which it installs as pip would. @raises
    Unfit
    """
    if options["foreign"]:
        raise Unfit("uv has no equivalent of %s" % options["foreign"])
    # As pip: the best version that any index has; no settings of uv's own for the workspace's
    # packages.
    arguments = ["--no-config", "--no-sources", "--index-strategy", "unsafe-best-match"]
    more: dict[str, str | None] = {}
    for name, value in sorted(settings.items()):
        if name == "index-url":
            if not (variables.get("UV_DEFAULT_INDEX") or variables.get("UV_INDEX_URL")):
                more["UV_DEFAULT_INDEX"] = value
        elif name not in WITHOUT_EFFECT:
            arguments += translate_setting(name, value, more)
    if options["index"]:
        # A requirements file overrides what is configured, in pip.
        more.update(UV_DEFAULT_INDEX=None, UV_INDEX_URL=None)
    if options["trusted"]:
        hosts = [more.get("UV_INSECURE_HOST") or "", *options["trusted"]]
        more["UV_INSECURE_HOST"] = " ".join(filter(None, hosts))
    if options["hashed"] and "--require-hashes" not in arguments:
        arguments.append("--require-hashes")
    if options["pre"] and "--prerelease" not in arguments:
        arguments += FLAGS["pre"]
    return arguments, more


def translate_setting(name: str, value: str, variables: dict[str, str | None]) -> list[str]:
    """The arguments for one setting of pip; what uv takes as a variable is added to `variables`.
    @raises Unfit
    """
    if name in LISTS:
        variables[LISTS[name]] = " ".join(pip_settings.places(value))
    elif name == "find-links":
        variables["UV_FIND_LINKS"] = ",".join(pip_settings.places(value))
    elif name in FLAGS:
        return FLAGS[name] if pip_settings.is_on(value) else []
    elif name in VALUES:
        variables.setdefault(VALUES[name], value)
    elif name in ("no-binary", "only-binary"):
        return [word for each in re.split(r"[\s,]+", value) for word in ("--" + name, each)]
    elif name == "proxy":
        proxies = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")
        variables.update((each, value) for each in proxies)
    elif name == "keyring-provider" and value in ("subprocess", "disabled"):
        return ["--keyring-provider", value]
    else:
        raise Unfit("pip is configured with %s, which uv has no equivalent of" % name)
    return []
