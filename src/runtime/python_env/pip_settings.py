"""How pip is configured: by its files and by PIP_ variables, in the order in which pip reads them."""
import configparser
import os

SECTIONS = ("global", "install")


def read(variables):
    """The value of each option of `pip install` that is set, by the option's name: "index-url"."""
    found = {}
    parsers = [_parse(path) for path in _files(variables)]
    # A section of the command overrides the global one, whichever file each is in.
    for section in SECTIONS:
        for parser in parsers:
            if parser.has_section(section):
                found.update((_name(name), value.strip()) for name, value in parser.items(section))
    for name, value in variables.items():
        # pip ignores empty values.
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE" and value:
            found[_name(name[4:])] = value
    return found


def places(value):
    """The values of an option that may be given several times."""
    return value.split()


def is_on(value):
    return value.strip().lower() in ("1", "true", "yes", "on", "y", "t")


def _files(variables):
    """The configuration files that pip reads, the one that overrides the others last."""
    own, home = variables.get("PIP_CONFIG_FILE"), variables.get("HOME") or os.path.expanduser("~")
    if own == os.devnull:
        return []
    system = [os.path.join(each, "pip", "pip.conf") for each in (variables.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)]
    user = [os.path.join(home, ".pip", "pip.conf"), os.path.join(variables.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "pip", "pip.conf")]
    return system + ["/etc/pip.conf"] + user + ([own] if own else [])


def _parse(path):
    parser = configparser.RawConfigParser()
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except (OSError, UnicodeDecodeError, configparser.Error):
        # pip reports a file that it can't parse.
        return configparser.RawConfigParser()
    return parser


def _name(text):
    return text.lower().replace("_", "-")
