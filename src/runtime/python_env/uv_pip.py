"""How `uv pip install` does what `pip install` does: pip's settings and the options of requirements files in uv's words."""
import os
import re

from . import pip_settings, requirements

# What uv understands in a requirements file as pip does.
UNDERSTOOD = re.compile(
    r"(?:-[rceif](?![a-z])|--(?:requirement|constraint|editable|index-url|extra-index-url|no-index|find-links|no-binary|only-binary|require-hashes)(?=[\s=]|$))"
)
INDEX = re.compile(r"(?:-i|--index-url)(?:\s*=\s*|\s+)(\S+)")
TRUSTED = re.compile(r"--trusted-host(?:\s+|=)(\S+)")
HASH = re.compile(r"\s--hash[\s=]")
OF_REQUIREMENT = re.compile(r"\s(--(?!hash[\s=])[a-z-]+)")

# Settings of pip that change nothing in what is installed.
WITHOUT_EFFECT = {
    "disable-pip-version-check", "no-input", "progress-bar", "no-color", "quiet", "verbose", "root-user-action", "cache-dir", "no-cache-dir",
    "break-system-packages", "require-virtualenv", "no-python-version-warning", "no-warn-script-location", "no-warn-conflicts", "log", "exists-action",
    "no-compile", "compile", "no-clean", "debug", "no-cache",
}
# pip's option, the variable of uv: the values are lists of the same form.
LISTS = {"extra-index-url": "UV_EXTRA_INDEX_URL", "constraint": "UV_CONSTRAINT", "build-constraint": "UV_BUILD_CONSTRAINT", "trusted-host": "UV_INSECURE_HOST"}
FLAGS = {"pre": ["--prerelease", "allow"], "no-index": ["--no-index"], "require-hashes": ["--require-hashes"], "no-deps": ["--no-deps"]}
VALUES = {"timeout": "UV_HTTP_TIMEOUT", "default-timeout": "UV_HTTP_TIMEOUT", "retries": "UV_HTTP_RETRIES", "cert": "SSL_CERT_FILE", "client-cert": "SSL_CLIENT_CERT"}


class Unfit(Exception):
    """Why a project is installed by pip."""


class Installer:
    """`arguments` and `variables` of `uv pip install`, by which it installs as pip would. `required`: pip is no alternative."""

    def __init__(self, arguments, variables, required):
        self.arguments, self.variables, self.required = arguments, variables, required


def options_of(paths, work):
    """What requirements files say to the installer: {"index": URLs, "trusted": hosts, "hashed", "pre", "foreign": what uv does not know}."""
    found = {"index": [], "trusted": [], "hashed": False, "pre": False, "foreign": None}
    for path in paths:
        for line in requirements.lines(requirements.read(path)):
            other = None
            if not line.startswith("-") or requirements.EDITABLE.match(line):
                found["hashed"] = found["hashed"] or HASH.search(line) is not None
                other = OF_REQUIREMENT.search(line)
                other = other and other.group(1)
            elif TRUSTED.match(line):
                found["trusted"].append(TRUSTED.match(line).group(1))
            elif line == "--pre":
                found["pre"] = True
            elif not UNDERSTOOD.match(line):
                other = re.split(r"[\s=]", line)[0]
            elif INDEX.match(line):
                found["index"].append(INDEX.match(line).group(1).strip("\"'"))
            if other:
                found["foreign"] = "%s in %s" % (other, os.path.relpath(path, work))
    return found


def translate(settings, options, variables):
    """(arguments, variables) for `uv pip install`, by which it installs as pip would. @raises Unfit"""
    if options["foreign"]:
        raise Unfit("uv has no equivalent of %s" % options["foreign"])
    # As pip: the best version that any index has; no settings of uv's own for the workspace's packages.
    arguments, more = ["--no-config", "--no-sources", "--index-strategy", "unsafe-best-match"], {}
    for name, value in sorted(settings.items()):
        if name in WITHOUT_EFFECT:
            continue
        if name in LISTS:
            more[LISTS[name]] = " ".join(pip_settings.places(value))
        elif name == "find-links":
            more["UV_FIND_LINKS"] = ",".join(pip_settings.places(value))
        elif name in FLAGS:
            arguments += FLAGS[name] if pip_settings.is_on(value) else []
        elif name in VALUES:
            more.setdefault(VALUES[name], value)
        elif name in ("no-binary", "only-binary"):
            for each in re.split(r"[\s,]+", value):
                arguments += ["--" + name, each]
        elif name == "proxy":
            more.update(HTTPS_PROXY=value, HTTP_PROXY=value, https_proxy=value, http_proxy=value)
        elif name == "keyring-provider" and value in ("subprocess", "disabled"):
            arguments += ["--keyring-provider", value]
        elif name == "index-url":
            if not (variables.get("UV_DEFAULT_INDEX") or variables.get("UV_INDEX_URL")):
                more["UV_DEFAULT_INDEX"] = value
        else:
            raise Unfit("pip is configured with %s, which uv has no equivalent of" % name)
    if options["index"]:
        # A requirements file overrides what is configured, in pip.
        more.update(UV_DEFAULT_INDEX=None, UV_INDEX_URL=None)
    if options["trusted"]:
        more["UV_INSECURE_HOST"] = " ".join(filter(None, [more.get("UV_INSECURE_HOST")] + options["trusted"]))
    if options["hashed"] and "--require-hashes" not in arguments:
        arguments.append("--require-hashes")
    if options["pre"] and "--prerelease" not in arguments:
        arguments += FLAGS["pre"]
    return arguments, more
