"""Inflates and parses with limits: a few bytes may inflate to gigabytes. The only module that
inflates.
"""

from __future__ import annotations

import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# JSON that is larger than this, bytes, is parsed only if it has no more values than this.
MAX_VALUES = 8 * 1024 * 1024


class TooLarge(ValueError):
    """Something holds more than its limit allows."""


def inflate(data: bytes | bytearray | memoryview, limit: int) -> bytes:
    """A zlib stream's bytes. TooLarge where it inflates to more than `limit`, ValueError for what
    is no whole stream.
    """
    unpacker = zlib.decompressobj()
    try:
        inflated = unpacker.decompress(data, limit + 1)
    except zlib.error as error:
        raise ValueError(str(error))
    if len(inflated) > limit:
        raise TooLarge("it holds more than %d inflated bytes" % limit)
    if not unpacker.eof:
        raise ValueError("it is cut short")
    return inflated


class ValueLimit:
    """What several JSON texts, whose values are kept together, may hold together.

    What is inside a text counts too: no text of ours holds so many commas.
    """

    def __init__(self) -> None:
        self.count = 0

    def take(self, data: bytes) -> None:
        self.count += data.count(b",") + data.count(b"[") + data.count(b"{")
        if self.count > MAX_VALUES:
            raise TooLarge("it holds more than %d values" % MAX_VALUES)


def parse(data: bytes, values: ValueLimit | None = None) -> Any:
    """The value of JSON whose bytes are bounded already. TooLarge where its values would need many
    times its size in memory, or are nested too deeply.
    """
    if values or len(data) > MAX_VALUES:
        (values or ValueLimit()).take(data)
    import json

    try:
        return json.loads(data)
    except RecursionError:
        raise TooLarge("its values are nested too deeply")
