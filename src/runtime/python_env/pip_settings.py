"""pip's settings: from its files and from PIP_ variables, in the order in which pip reads them."""

from __future__ import annotations

import configparser
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping

SECTIONS = ("global", "install")


def read(variables: Mapping[str, str]) -> dict[str, str]:
    """The value of each option of `pip install` that is set, by the option's name: "index-url"."""
    found: dict[str, str] = {}
    parsers = [_parse(path) for path in _files(variables)]
    # A section of the command overrides the global one, whichever file each is in.
    for section in SECTIONS:
        for parser in parsers:
            if parser.has_section(section):
                items = parser.items(section)
                found.update((_name(name), value.strip()) for name, value in items)
    for name, value in variables.items():
        # pip ignores empty values.
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE" and value:
            found[_name(name[4:])] = value
    return found


def places(value: str) -> list[str]:
    """The values of an option that may be given several times."""
    return value.split()


def is_on(value: str) -> bool:
    return value.strip().lower() in ("1", "true", "yes", "on", "y", "t")


def _files(variables: Mapping[str, str]) -> list[str]:
    """The configuration files that pip reads, the one that overrides the others last."""
    own = variables.get("PIP_CONFIG_FILE")
    home = variables.get("HOME") or os.path.expanduser("~")
    if own == os.devnull:
        return []
    shared = (variables.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
    user = variables.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    return [
        *(os.path.join(each, "pip", "pip.conf") for each in shared),
        "/etc/pip.conf",
        os.path.join(home, ".pip", "pip.conf"),
        os.path.join(user, "pip", "pip.conf"),
        *([own] if own else []),
    ]


def _parse(path: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except (OSError, UnicodeDecodeError, configparser.Error):
        # pip reports a file that it can't parse.
        return configparser.RawConfigParser()
    return parser


def _name(text: str) -> str:
    return text.lower().replace("_", "-")
