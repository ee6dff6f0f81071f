"""Secret values never come through, however the stream is cut, and nothing else is lost or kept back."""
import base64
import json
import os
import random
import sys
import unittest
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import package  # noqa: E402,F401
from nx_ec2_remote.masking import Mask, forms  # noqa: E402


def through(mask, data, cuts):
    shown, at = [], 0
    for cut in sorted(cuts) + [len(data)]:
        shown.append(mask.feed(data[at:cut]))
        at = cut
    return b"".join(shown) + mask.flush()


class MaskTest(unittest.TestCase):
    def test_masks_a_value_in_each_of_its_forms(self):
        value = 'pa ss/wörd"\\&+'
        for text in (value, base64.b64encode(value.encode()).decode(), urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value), json.dumps(value), json.dumps(value, ensure_ascii=False)):
            shown = through(Mask([value]), ("before %s after" % text).encode(), [])
            self.assertIn(b"***", shown)
            self.assertEqual((shown[:7], shown[-6:]), (b"before ", b" after"))
            self.assertNotIn(b"ss/w", shown)

    def test_masks_the_lines_of_a_value(self):
        key = "-----BEGIN KEY-----\nabcdefgh\nijklmnop\n-----END KEY-----\n"
        shown = through(Mask([key]), b"  abcdefgh\r\n  ijklmnop\r\n", [])
        self.assertEqual(shown, b"  ***\r\n  ***\r\n")
        self.assertEqual(through(Mask([key]), b"x" + key.encode() + b"y", [9, 30]), b"x***y")

    def test_leaves_what_is_too_short(self):
        self.assertEqual(through(Mask(["abc", ""]), b"abc abc", []), b"abc abc")
        self.assertEqual(through(Mask([]), b"abc", [1]), b"abc")

    def test_prefers_the_longer_of_two_that_begin_together(self):
        self.assertEqual(through(Mask(["secret", "secretive"]), b"a secretive secret", list(range(18))), b"a *** ***")

    def test_holds_back_only_what_may_be_a_beginning(self):
        mask = Mask(["secret"])
        self.assertEqual(mask.feed(b"nothing to hide\n"), b"nothing to hide\n")
        self.assertEqual(mask.feed(b"sec"), b"")
        self.assertEqual(mask.feed(b"tor\n"), b"sector\n")
        self.assertEqual((mask.feed(b"secre"), mask.flush()), (b"", b"secre"))

    def test_is_the_same_as_replacing_in_the_whole(self):
        rng = random.Random(11)
        for _ in range(3000):
            letters = rng.choice(["ab", "abc", "ab\n", "a\xe4\"%"])
            values = ["".join(rng.choice(letters) for _ in range(rng.randint(0, 9))) for _ in range(rng.randint(0, 4))]
            pieces = [rng.choice([value, "".join(rng.choice(letters) for _ in range(rng.randint(0, 6)))]) for value in values + [""] for _ in range(3)]
            data = "".join(pieces).encode()
            mask = Mask(values)
            whole = mask.whole.sub(b"***", data) if mask.whole else data
            cuts = [rng.randint(0, len(data)) for _ in range(rng.randint(0, 8))]
            self.assertEqual(through(mask, data, cuts), whole, (values, data, cuts))
            longest = max((len(form) for value in values for form in forms(value)), default=1)
            mask = Mask(values)
            for at in range(len(data)):
                mask.feed(data[at:at + 1])
                self.assertLess(len(mask.held), longest)


if __name__ == "__main__":
    unittest.main()
