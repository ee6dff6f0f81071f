"""The URL of a package index: its login is in no text and no log."""

import os
import random
import sys
import unittest
from urllib.parse import quote

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import package  # noqa: F401

from nx_ec2_runtime.python_env.package_index import for_log, secrets, without_credentials
from nx_ec2_runtime.run.masking import Mask

HOSTS = ("index.example.com", "10.0.0.1:8443", "[fd00::1]", "[fd00::1]:8443")
PATHS = ("", "/", "/simple/", "/@scope/simple")
LETTERS = "ab@:%&+*!$()'\",;=~^`{}|\\"


class PackageIndexTest(unittest.TestCase):
    def test_a_text_loses_the_logins_of_its_urls(self):
        for text, expected in (
            ("https://u:p@TAIL@h/simple", "https://h/simple"),
            ("https://token@h/simple", "https://h/simple"),
            ("https://u:a/b#c@h/x", "https://h/x"),
            ("https://u:p%40h/x", "https://h/x"),
            (
                "+ pip install --index-url https://u:p@q@h/x https://u:p@h/@y",
                "+ pip install --index-url https://h/x https://h/@y",
            ),
            ("https://h/x,https://u:p@h/y", "https://h/x,https://h/y"),
            ("git+ssh://git:p@h:22/x@main", "git+ssh://h:22/x@main"),
        ):
            self.assertEqual(without_credentials(text), expected)

    def test_a_text_keeps_everything_else(self):
        for text in (
            "https://h/@scope/x",
            "https://[fd00::1]:8443/x",
            "git@h:team/x",
            "dep @ file:///home/me@work/x",
            "https://h/x?channel=a",
            "",
            "a://",
        ):
            self.assertEqual(without_credentials(text), text)

    def test_any_password_is_removed_and_masked(self):
        rng = random.Random(3)
        for _ in range(3000):
            password = (
                "".join(rng.choice(LETTERS) for _ in range(rng.randint(0, 5)))
                + "S3CR3T"
                + "".join(rng.choice(LETTERS) for _ in range(rng.randint(0, 5)))
            )
            written, rest = (
                rng.choice((password, quote(password, safe=""))),
                rng.choice(HOSTS) + rng.choice(PATHS),
            )
            url = "https://%s:%s@%s" % (rng.choice(("", "aws", "__token__")), written, rest)
            self.assertEqual(without_credentials("of %s and" % url), "of https://%s and" % rest)
            self.assertIn(written, secrets(url))

    def test_a_password_with_unencoded_characters_is_masked(self):
        self.assertEqual(secrets("https://u:a/b@c@h/simple"), ["a/b@c"])
        self.assertEqual(secrets("https://aws:a%2Fb@host/simple/"), ["a%2Fb", "a/b"])
        self.assertEqual(secrets("https://token@h/"), ["token"])
        for url in ("https://h/@x", "https://h/x?", "", None):
            self.assertEqual(secrets(url), [])

    def test_a_query_is_in_no_log(self):
        self.assertEqual(secrets("https://h/x?a=QTOKEN99"), ["QTOKEN99", "a=QTOKEN99"])
        self.assertEqual(secrets("https://h/x?QTOKEN"), ["QTOKEN"])
        self.assertEqual(secrets("https://h/x?channel=main"), ["channel=main"])
        for url, shown in (
            ("http://u:PASSWORD@h/simple?token=QTOKEN99", "http://u:****@h/simple?token=QTOKEN99"),
            ("http://h/simple?a=1&token=QTOKEN%2F99", "http://h/simple?a=1&token=QTOKEN/99"),
        ):
            mask = Mask(secrets(url))
            for line in (url, shown, "GET /simple/x/?%s 404" % shown.partition("?")[2]):
                self.assertNotIn("QTOKEN", mask.cover("Looking in indexes: " + line))
            self.assertNotIn("QTOKEN", for_log("+ pip install --index-url %s x" % url))

    def test_a_command_line_in_the_log_keeps_what_is_no_query(self):
        for text, expected in (
            ("https://u:p@h/x?token=a b?", "https://h/x b?"),
            ("git+https://h/x@main#egg=x", "git+https://h/x@main"),
            ("ls a?.txt", "ls a?.txt"),
        ):
            self.assertEqual(for_log(text), expected)


if __name__ == "__main__":
    unittest.main()
