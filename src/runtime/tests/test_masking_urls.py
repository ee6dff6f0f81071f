"""Secret values are masked as real encoders of URLs write them, and as programs show JSON."""

import csv
import io
import json
import os
import random
import re
import shutil
import string
import subprocess
import sys
import unittest
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import package  # noqa: F401

from nx_ec2_runtime.run.masking import Mask

try:
    import requests
except ImportError:
    try:
        from pip._vendor import requests
    except ImportError:
        requests = None

NODE = shutil.which("node")
ENCODERS = """
const values = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const set = (name, scheme) => (value) => {
  const url = new URL(scheme + '://h/');
  url[name] = value;
  return url.href;
};
const encoders = [
  encodeURI, encodeURIComponent, escape,
  (value) => new URLSearchParams({ k: value }).toString(),
];
for (const scheme of ['https', 'redis']) {
  for (const name of ['pathname', 'search', 'hash', 'username', 'password']) encoders.push(set(name, scheme));
  for (const before of ['x', '?k=', '#']) encoders.push((value) => new URL(scheme + '://h/' + before + value).href);
}
console.log(JSON.stringify(values.map((value) => encoders.map((encode) => encode(value)))));
"""
# What is around the value, which begins and ends with a letter.
AROUND = re.compile(r"(?:[a-z]+://:?)?(?:h/)?x?[?#]?(?:k=)?\*\*\*(?:@h/)?")


def values(count, letters):
    rng, found = (
        random.Random(20),
        ["q(3Ipnl]ZNi3Xk=mRl-z", "correct horse~battery7", "q'y\"\\z#?%41"],
    )
    while len(found) < count:
        inner = (
            rng.choice(string.ascii_letters if rng.random() < 0.6 else letters)
            for _ in range(rng.randint(6, 30))
        )
        each = "q%sz" % "".join(inner)
        # Parsers of URLs remove an empty query, and resolve "." and "..".
        if not re.search(r"\?#|[/\\]\.", each):
            found.append(each)
    return found


LETTERS = string.punctuation + string.digits + " "
MORE_LETTERS = LETTERS + "\u00e4\u20ac\U0001f600"


class UrlTest(unittest.TestCase):
    def check(self, value, all_shown):
        mask = Mask([value])
        for shown in all_shown:
            self.assertTrue(AROUND.fullmatch(mask.cover(shown)), (value, shown, mask.cover(shown)))

    @unittest.skipUnless(NODE, "needs node")
    def test_masks_a_value_as_node_encodes_it(self):
        given = values(100, MORE_LETTERS)
        encoded = subprocess.run(
            [NODE, "-e", ENCODERS],
            input=json.dumps(given).encode(),
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for value, all_shown in zip(given, json.loads(encoded)):
            self.assertEqual(20, len(all_shown))
            self.check(value, all_shown)

    def test_masks_a_value_as_python_encodes_it(self):
        for value in values(100, MORE_LETTERS):
            all_shown = [urllib.parse.quote(value), urllib.parse.quote(value, safe="")]
            all_shown += [urllib.parse.quote_plus(value), urllib.parse.urlencode({"k": value})]
            self.check(value, all_shown)

    @unittest.skipUnless(requests, "needs requests")
    def test_masks_a_value_as_requests_encodes_it(self):
        for value in values(100, MORE_LETTERS):
            urls = ["http://h/x" + value, "http://h/?k=" + value, "http://h/#" + value]
            ways = [{"url": url} for url in urls]
            ways.append({"url": "http://h/", "params": {"k": value}})
            self.check(value, [requests.Request("GET", **way).prepare().url for way in ways])

    def test_masks_requests_form_of_a_url_without_requests(self):
        for value, shown in (
            ("Y1718d(3Ipnl]ZNi3Xk=mRl-", "Y1718d(3Ipnl%5DZNi3Xk=mRl-"),
            ("q[b]%41?c#[d", "q%5Bb%5DA?c#%5Bd"),
        ):
            self.check(value, ["http://h/?k=" + shown])


class ShownTest(unittest.TestCase):
    def test_masks_json_as_python_shows_it(self):
        for value in values(100, MORE_LETTERS + "\u200b\x7f\n"):
            mask = Mask([value])
            for ensure_ascii in (True, False):
                body = json.dumps({"k": value}, ensure_ascii=ensure_ascii)
                for shown in (
                    body,
                    repr(body),
                    ascii(body),
                    repr(body.encode()),
                    repr([body, "'"]),
                ):
                    masked = mask.cover(shown)
                    self.assertRegex(
                        masked, r"""^\[?b?['"]?\{\\?"k\\?": \\?"\*\*\*""", (value, shown)
                    )

    def test_masks_a_value_as_gson_yaml_and_csv_write_it(self):
        value = "this-isA'key\"<&>=="
        file = io.StringIO()
        csv.writer(file).writerow([value])
        for shown in (
            '"this-isA\\u0027key\\"\\u003c\\u0026\\u003e\\u003d\\u003d"',
            "'this-isA''key\"<&>=='",
            file.getvalue().strip(),
        ):
            self.assertRegex(Mask([value]).cover(shown), r"^(['\"])\*\*\*\1$", shown)


if __name__ == "__main__":
    unittest.main()
