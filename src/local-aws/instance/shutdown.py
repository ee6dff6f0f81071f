"""shutdown, poweroff, halt and reboot of a local instance: tells local AWS."""

import getopt
import sys
import time
import urllib.error
import urllib.request


def request(name, words):
    """What is asked for, and after how many seconds."""
    options, rest = getopt.gnu_getopt(
        words, "hPHrckfp", ["poweroff", "halt", "reboot", "no-wall", "force"]
    )
    given = [option for option, _ in options]
    if "-k" in given:
        raise getopt.GetoptError("local AWS knows no -k")
    restart = name == "reboot" or "-r" in given or "--reboot" in given
    action = "reboot" if restart else "poweroff"
    if name != "shutdown":
        return action, 0
    if "-c" in given:
        return "cancel", 0
    return action, delay(rest[0] if rest else "+1")


def delay(text):
    if text == "now":
        return 0
    if text.lstrip("+").isdigit():
        return int(text.lstrip("+")) * 60
    now = time.localtime()
    try:
        at = time.strptime(text, "%H:%M")
    except ValueError:
        raise getopt.GetoptError("failed to parse time specification: %s" % text)
    minutes = (at.tm_hour - now.tm_hour) * 60 + at.tm_min - now.tm_min
    return (minutes % (24 * 60)) * 60 - now.tm_sec


def main(url_file, instance, secret_file, name, *words):
    try:
        action, seconds = request(name, words)
    except getopt.GetoptError as error:
        sys.exit("%s: %s" % (name, error))
    with open(url_file) as file:
        url = file.read()
    with open(secret_file) as file:
        secret = file.read()
    asked = urllib.request.Request(
        "%s/imds/%s/%s/local/%s?seconds=%d" % (url, instance, secret, action, max(seconds, 0)),
        method="POST",
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(asked, timeout=30).close()
    except (OSError, urllib.error.URLError) as error:
        sys.exit("%s: local AWS at %s: %s" % (name, url, error))


if __name__ == "__main__":
    main(*sys.argv[1:])
