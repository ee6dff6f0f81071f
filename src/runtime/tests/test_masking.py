"""Secret values are masked however the output is cut, and nothing else is masked, lost or delayed."""

import base64
import html
import json
import os
import random
import re
import subprocess
import sys
import time
import unittest
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import package  # noqa: F401

from nx_ec2_runtime.run.masking import Mask, Seen
from nx_ec2_runtime.run.secret_forms import forms


def through(mask, data, cuts):
    shown, at = [], 0
    for cut in sorted(cuts) + [len(data)]:
        shown.append(mask.feed(data[at:cut]))
        at = cut
    return b"".join(shown) + mask.flush()


def covered(values, data):
    """Each place of each form, one after another: the slow way."""
    hidden = bytearray(len(data))
    for form in {form for value in values for form in forms(value)}:
        at = data.find(form)
        while at >= 0:
            hidden[at : at + len(form)] = b"\1" * len(form)
            at = data.find(form, at + 1)
    shown = bytearray()
    for n, byte in enumerate(data):
        if not hidden[n]:
            shown.append(byte)
        elif not n or not hidden[n - 1]:
            shown += b"***"
    return bytes(shown)


# Each way in which a shell shows a value so that it would read it back.
SHOWN_BY_SH = r"""
for value in "$@"; do
  printf '\n@@@@\n'
  export V="$value"
  export -p
  set
done
"""
SHOWN_BY_BASH = r"""
for value in "$@"; do
  printf '\n@@@@\n'
  export V="$value"
  export -p
  declare -p V
  (set -o posix; export -p)
  printf 'V=%q\n' "$V" "x:$V"
  printf 'V=%s\n' "${V@Q}" "${V@A}"
  set
  set -x
  V="$V"
  : "$V" V="$V" $'\e'"$V"
  set +x
done
"""
LETTERS = "ab1AZ09_" + " !\"#$%&'()*+,-./:;<=>?@[\\]^`{|}~" * 2 + "\t\n\r\x01\x1b\x7f"
LETTERS += "\u00e4\u00f6\u00df\u20ac\u03a9\u0130\U0001f600\u0301\u00a0\u200b\u2028\u0085\u00ad"
LETTERS += "\ue000\u0378\uffff\udcff\udcc3"


def secrets(rng, count):
    """Values that an environment can have."""
    found = ["Tr0ub4dor#3,x!", "pa$$w0rd!&9", "Geh\u00e4im#W\u00f6rt1", "#~~a'''b", "''abc''"]
    while len(found) < count:
        letters = LETTERS if rng.random() < 0.5 else LETTERS[:70]
        found.append("".join(rng.choice(letters) for _ in range(rng.randint(4, 14))))
    # A value is text: what is read of the environment is what was put into it.
    return [each for each in found if os.fsdecode(os.fsencode(each)) == each]


class MaskTest(unittest.TestCase):
    def test_masks_a_value_in_each_of_its_forms(self):
        value = 'pa ss/wörd"\\&+'
        for text in (
            value,
            base64.b64encode(value.encode()).decode(),
            urllib.parse.quote(value, safe=""),
            urllib.parse.quote_plus(value),
            json.dumps(value),
            json.dumps(value, ensure_ascii=False),
        ):
            shown = through(Mask([value]), ("before %s after" % text).encode(), [])
            self.assertIn(b"***", shown)
            self.assertEqual((shown[:7], shown[-6:]), (b"before ", b" after"))
            self.assertNotIn(b"ss/w", shown)

    def test_masks_the_lines_of_a_value(self):
        key = "-----BEGIN KEY-----\nabcdefgh\nijklmnop\n-----END KEY-----\n"
        shown = through(Mask([key]), b"  abcdefgh\r\n  ijklmnop\r\n", [])
        self.assertEqual(shown, b"  ***\r\n  ***\r\n")
        self.assertEqual(through(Mask([key]), b"x" + key.encode() + b"y", [9, 30]), b"x***y")

    def test_masks_a_value_that_is_encoded_together_with_other_text(self):
        for value in ("hunter2-abcdef", "p\u00e4ssw\u00f6rd-1", "x" * 7):
            for before in ("", "u", "us", "user:", "tok:en:"):
                for after in ("", "\n", "@host", "ab"):
                    for encode in (base64.b64encode, base64.urlsafe_b64encode):
                        data = encode((before + value + after).encode())
                        shown = through(
                            Mask([value]), b"Authorization: Basic " + data + b"\n", [30]
                        )
                        self.assertIn(b"***", shown)
                        # What is left can't be decoded to much of it.
                        self.assertLess(
                            len(shown), 21 + 1 + 3 + (len(before) + len(after) + 4) * 4 // 3 + 6
                        )

    def test_masks_a_value_in_lines_of_base64(self):
        rng = random.Random(2)
        value = "".join(rng.choice("abcdefghijklmnop0123456789-_") for _ in range(500))
        for text in (value, value + "\n"):
            in_lines = re.findall(b".{1,64}", base64.b64encode(text.encode()))
            for wrapped in (base64.encodebytes(text.encode()), b"\n".join(in_lines)):
                shown = through(Mask([value]), wrapped, [10, 200])
                self.assertLess(len(re.sub(rb"[*\s]", b"", shown)), 8, shown)

    def test_masks_a_value_in_the_middle_of_lines_of_base64(self):
        rng = random.Random(5)
        letters = "abcdefghijklmnopqrstuvwxyzABCDEFG0123456789"
        for length in (12, 20, 64, 200, 1000):
            value = "".join(rng.choice(letters) for _ in range(length))
            mask = Mask([value])
            for width in (64, 76):
                for end in (b"\n", b"\r\n"):
                    for count in range(60):
                        before, after = "u" * count, rng.choice(("", "\n", "@host"))
                        lines = re.findall(
                            b".{1,%d}" % width, base64.b64encode((before + value + after).encode())
                        )
                        text = end.join(lines) + end
                        shown = through(mask, text, [rng.randrange(len(text))])
                        left = re.sub(rb"\s", b"", shown)
                        # The characters at both ends that are the value's only in part.
                        around = (len(before) + len(after)) * 4 // 3 + 6
                        self.assertLessEqual(
                            len(left.replace(b"***", b"")), around, (length, width, count, shown)
                        )

    def test_a_token_behind_a_name_is_in_no_line_of_base64(self):
        token = "ghp_" + "0123456789abcdef" * 4
        shown = through(Mask([token]), base64.encodebytes(b"bot:" + token.encode()), [])
        self.assertRegex(shown, rb"^Ym90Om?\*\*\*\n\*\*\*.?=*\n$")

    def test_a_value_that_is_long_is_masked_in_lines_of_its_own(self):
        value = "".join(
            random.Random(6).choice("abcdefghijklmnop0123456789-_") for _ in range(6_000)
        )
        shown = through(Mask([value]), base64.encodebytes(value.encode()), [100])
        self.assertLess(len(re.sub(rb"[*\s]", b"", shown)), 8)

    def test_masks_json_in_json_and_characters_by_number(self):
        value = 'it\'s "q"/\\<w\u00f6rd>'
        once = json.dumps(value)
        numbered = html.escape(value).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
        for text in (
            json.dumps(once),
            json.dumps({"a": json.dumps({"b": value})}),
            json.dumps(json.dumps(value, ensure_ascii=False)),
            once.replace("/", "\\/"),
            numbered,
        ):
            shown = through(Mask([value]), text.encode(), [])
            self.assertIn(b"***", shown)
            self.assertNotRegex(shown, b"rd|&lt;|it")

    def test_masks_a_value_as_programs_show_it(self):
        value = 'it\'s "q" <&>\\\x01\u00e9/'
        url = urllib.parse.quote(value, safe="").lower()
        for text in (repr(value), ascii(value), repr(value.encode()), html.escape(value), url):
            shown = through(Mask([value]), ("before %s after" % text).encode(), [])
            self.assertRegex(shown, rb"^before b?['\"]?\*\*\*['\"]? after$")

    def test_masks_a_value_as_encoders_of_urls_json_and_shell_words_write_it(self):
        value = "p!ss/w(rd)*+<&>'x"
        for shown in (
            "?t=p!ss%2Fw(rd)*%2B%3C%26%3E'x",  # encodeURIComponent
            "?t=p%21ss%2Fw%28rd%29*%2B%3C%26%3E%27x",  # URLSearchParams
            "https://:p!ss%2Fw(rd)*+%3C&%3E'x@h/",  # URL.password
            "?t=p!ss/w(rd)*+%3C&%3E'x",  # requests
            '{"t":"p!ss/w(rd)*+\\u003c\\u0026\\u003e\'x"}',  # encoding/json
            '{"t":"p!ss/w(rd)*\\u002B\\u003C\\u0026\\u003E\\u0027x"}',  # System.Text.Json
            "+ : 'p!ss/w(rd)*+<&>'\\''x'",  # bash -x
            "'p!ss/w(rd)*+<&>'\"'\"'x'",  # shlex.quote
            "p\\!ss/w\\(rd\\)\\*+\\<\\&\\>\\'x",  # printf %q
            repr('say "hi" ' + value),
        ):
            with self.subTest(shown):
                masked = through(Mask([value]), shown.encode(), [])
                self.assertIn(b"***", masked)
                self.assertNotIn(b"ss", masked)
        self.assertEqual(
            through(Mask(["p\u00e4ssw\u00f6rd"]), b'{"t":"p\\u00E4ssw\\u00F6rd"}', []),
            b'{"t":"***"}',
        )

    def test_masks_the_texts_of_a_value_that_is_json(self):
        keys = ["line one\nline two!"]
        value = json.dumps({
            "username": "bob",
            "password": "correct-horse",
            "keys": keys,
            "port": 5432,
        })
        basic = base64.b64encode(b"bob:correct-horse")
        shown = through(Mask([value]), b"bob correct-horse 5432 line two! " + basic, [])
        self.assertEqual(shown, b"bob *** 5432 *** Ym9iOm***U=")
        self.assertEqual(through(Mask(["[not json"]), b"x [not json", []), b"x ***")

    def test_hundreds_of_forms_do_not_delay_the_log(self):
        rng = random.Random(4)
        letters = "abcdefghijklmnopqrstuvwxyz0123456789+/"
        mask = Mask(["\n".join("".join(rng.choice(letters) for _ in range(64)) for _ in range(60))])
        line = (
            b"step 12 | loss 0.33 | epoch 4 [=====>...] 2024-05-05 10:00:00 MIIE aGVsbG8gd29ybGQ=\n"
        )
        began = time.process_time()
        for _ in range(100):
            self.assertEqual(len(mask.feed(line * 200)) // len(line), 200)
        # Where each of a thousand forms is tried at each byte, it takes ten times as long.
        self.assertLess(time.process_time() - began, 20)

    def test_a_value_of_60000_characters_takes_no_time_whatever_it_is_made_of(self):
        rng = random.Random(7)

        def text(length):
            return "".join(
                rng.choice("abcdefghijklmnopqrstuvwxyz0123456789+/") for _ in range(length)
            )

        for value in (
            "a" * 60_000,
            "ab" * 30_000,
            text(60_000),
            "\n".join(text(64) for _ in range(900)),
            json.dumps({"key": text(60_000)}),
        ):
            mask = Mask([value])
            # The value but for its last character, as a program writes it in pieces, and something else.
            data = value.encode()[:-1] + b"\n" * 2
            began = time.process_time()
            shown = through(mask, data, range(0, len(data), 1000))
            # Where as much as the value's length is tried at each byte, it takes 20 to 100 s.
            self.assertLess(time.process_time() - began, 5)
            self.assertLess(len(mask.held), 512)
            # At most the last piece, which is no whole one, is no part of a form.
            self.assertLess(len(shown), 512, shown[:40])
            self.assertEqual(
                through(mask, b"x" + value.encode() + b"y", range(0, 60_000, 999)), b"x***y"
            )

    def test_a_part_of_a_long_value_is_masked_and_no_line_of_it_shows(self):
        rng = random.Random(8)
        lines = [
            "".join(rng.choice("abcdefghijklmnop0123456789") for _ in range(rng.randint(20, 200)))
            for _ in range(400)
        ]
        mask = Mask(["\n".join(lines)])
        for count in (1, 2, 3, 10, 100, 399):
            data = "\n".join(lines[:count]).encode() + b"\nother\n"
            shown = through(mask, data, [rng.randrange(len(data)) for _ in range(4)])
            self.assertRegex(shown, rb"^(\*\*\*\n*)+other\n$")

    def test_two_overlapping_values_are_both_masked(self):
        self.assertEqual(through(Mask(["abcdef", "efghij"]), b"xabcdefghijy", [6]), b"x***y")

    def test_masks_a_value_as_shells_show_it(self):
        rng = random.Random(77)
        shells = [
            ("bash", "BASH_XTRACEFD=1" + SHOWN_BY_BASH, 9),
            ("sh", SHOWN_BY_SH, 2),
        ]
        for locale in ("C", "C.UTF-8"):
            for shell, script, count in shells:
                values = secrets(rng, 400)
                shown = subprocess.run(
                    [shell, "-s", "--", *map(os.fsencode, values)],
                    input=script.encode(),
                    env={"LC_ALL": locale, "PATH": os.environ["PATH"]},
                    stdout=subprocess.PIPE,
                    check=True,
                ).stdout.split(b"\n@@@@\n")[1:]
                self.assertEqual(len(shown), len(values))
                for value, text in zip(values, shown):
                    masked = through(Mask([value]), text, [rng.randrange(len(text))])
                    found = re.findall(
                        rb"^(?:declare -x |export |\+ )?V=(.*)$|^\+ : (.*)$", masked, re.M
                    )
                    self.assertGreaterEqual(len(found), count, (locale, value, masked))
                    for each in found:
                        # Quotes around it, and what was put before it.
                        quotes = rb"\$?['\"\\]?"
                        before = quotes + rb"(?:declare -x V=|V=|x:|\\E|\x1b)?" + quotes
                        left = re.sub(before + rb"\*\*\*['\"]?", b"", b"".join(each))
                        self.assertEqual(left.strip(), b"", (locale, value, each, masked))

    def test_a_value_that_is_too_short_is_not_masked(self):
        self.assertEqual(through(Mask(["abc", ""]), b"abc abc", []), b"abc abc")
        self.assertEqual(through(Mask([]), b"abc", [1]), b"abc")

    def test_of_two_values_with_the_same_beginning_the_longer_is_masked(self):
        self.assertEqual(
            through(Mask(["secret", "secretive"]), b"a secretive secret", list(range(18))),
            b"a *** ***",
        )

    def test_only_a_possible_beginning_of_a_value_is_held_back(self):
        mask = Mask(["secret"])
        self.assertEqual(mask.feed(b"nothing to hide\n"), b"nothing to hide\n")
        self.assertEqual(mask.feed(b"sec"), b"")
        self.assertEqual(mask.feed(b"tor\n"), b"sector\n")
        self.assertEqual((mask.feed(b"secre"), mask.flush()), (b"", b"secre"))

    def test_masking_piece_by_piece_equals_masking_the_whole_text(self):
        rng = random.Random(11)
        for _ in range(3000):
            letters = rng.choice(["ab", "abc", "ab\n", 'a\xe4"%'])
            values = [
                "".join(rng.choice(letters) for _ in range(rng.randint(0, 9)))
                for _ in range(rng.randint(0, 4))
            ]
            pieces = [
                rng.choice([value, "".join(rng.choice(letters) for _ in range(rng.randint(0, 6)))])
                for value in values + [""]
                for _ in range(3)
            ]
            data = "".join(pieces).encode()
            mask = Mask(values)
            whole = covered(values, data)
            cuts = [rng.randint(0, len(data)) for _ in range(rng.randint(0, 8))]
            self.assertEqual(through(mask, data, cuts), whole, (values, data, cuts))
            longest = max((len(form) for value in values for form in forms(value)), default=1)
            mask = Mask(values)
            for at in range(len(data)):
                mask.feed(data[at : at + 1])
                self.assertLess(len(mask.held), longest)

    def test_masks_a_value_with_what_no_terminal_shows_in_it(self):
        rng = random.Random(12)
        unseen = (
            *("\0", "\x07", "\x1b[0m", "\x1b[1;38;5;9m", "\x1b]0;title\x07"),
            *("\x1b]8;;https://x\x1b\\", "\x1bPq\x1b\\", "\x1b(B", "\x1b[?25l\x08"),
        )
        for _ in range(2000):
            value = rng.choice(("Sup3r-Secret/Value", "aabaab", "\xe4\xe4o" * 3))
            place = range(1, len(value))
            where = sorted(rng.sample(place, rng.randint(1, min(4, len(place)))))
            printed, at = "", 0
            for cut in [*where, len(value)]:
                printed += value[at:cut] + rng.choice(unseen) * rng.randint(0, 2)
                at = cut
            text = rng.choice(("before ", "a", "")) + printed + rng.choice((" behind\n", ""))
            data = text.encode()
            cuts = [rng.randint(0, len(data)) for _ in range(rng.randint(0, 8))]
            shown = through(Mask([value]), data, cuts)
            self.assertNotIn(value.encode(), Seen(shown).data, (data, cuts))
            self.assertIn(b"***", shown, (data, cuts))
            self.assertEqual(shown, through(Mask([value]), data, []), (data, cuts))
            self.assertEqual(Mask([value]).cover(text).encode(), shown)
            # Nothing else is masked, lost or delayed.
            self.assertEqual(through(Mask(["something else"]), data, cuts), data)

    def test_masks_json_as_python_urls_and_html_show_it(self):
        value = 'Sup3r-"Secret"\\Value\xe9'
        body = json.dumps({"token": value})
        for shown in (repr(body), urllib.parse.quote(body), html.escape(body)):
            masked = through(Mask([value]), shown.encode(), [])
            self.assertIn(b"***", masked, shown)
            self.assertNotIn(b"Sup3r", masked, shown)

    def test_masks_a_value_in_utf_16(self):
        for encoding in ("utf-16-le", "utf-16-be"):
            shown = through(Mask(["Sup3r-Secret"]), "a Sup3r-Secret b".encode(encoding), [7])
            self.assertNotIn(b"Sup3r", Seen(shown).data)

    def test_the_colors_behind_a_value_stay(self):
        data = b"\x1b[32mse\x1b[1mcret\x1b[0m, and more"
        self.assertEqual(through(Mask(["secret"]), data, []), b"\x1b[32m***\x1b[0m, and more")

    def test_what_is_never_shown_is_not_held_back_without_a_limit(self):
        mask = Mask(["secret"])
        for _ in range(300):
            mask.feed(b"sec" + b"\x1b[0m" * 1000)
            mask.feed(b"\x1b]0;" + b"x" * 1000)
            self.assertLess(len(mask.seen_held), 80_000)


if __name__ == "__main__":
    unittest.main()
