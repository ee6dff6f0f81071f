"""Recipes, by which contents are put together: docs/reference/formats.md, "Contents, chunks,
recipes".
"""

from __future__ import annotations

import struct
from binascii import a2b_base64

from ..system.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, List, Sequence, Tuple, Union

    # Chunks, base64, or steps: chunks, or a piece of another content (content, offset, bytes). In a
    # manifest of version 1 a step was one chunk (name, bytes).
    Recipe = Union[str, Sequence[Union[str, List[Any]]]]
    # A chunk's name, 0 and bytes; or another content's name, an offset in it and bytes.
    Piece = Tuple[Union[bytes, str], int, int]


CHUNK = struct.Struct(">32sI")
MAX_CHUNK_BYTES = (1 << 32) - 1


def pieces(recipe: Recipe, content: str) -> Iterator[Piece]:
    """What a content is made of, in order. One after another: a list of them would take ten times
    the memory of the recipe.
    """
    try:
        for step in [recipe] if isinstance(recipe, str) else recipe:
            if isinstance(step, str):
                for chunk, size in CHUNK.iter_unpack(a2b_base64(step)):
                    yield chunk, 0, size
                continue
            name, *numbers = step
            if not all(type(number) is int and number >= 0 for number in numbers):
                raise ValueError("a piece has no size")
            if len(numbers) == 1:
                if numbers[0] > MAX_CHUNK_BYTES:
                    raise ValueError("a chunk is too large")
                yield bytes.fromhex(name), 0, numbers[0]
            else:
                at, size = numbers
                if not isinstance(name, str):
                    raise TypeError("a piece is of no content")
                yield name, at, size
    except (ValueError, TypeError, struct.error):
        raise Failure("BAD_PLAN", "the recipe of the content %s is damaged" % content)


def size_of(recipe: Recipe, content: str) -> int:
    return sum(size for _, _, size in pieces(recipe, content))


def is_one_chunk(recipe: Recipe, content: str) -> bool:
    """Whether the content is a chunk itself."""
    found = pieces(recipe, content)
    first, others = next(found, None), next(found, None)
    return first is not None and others is None and name_of(first) == content


def name_of(piece: Piece) -> str:
    return piece[0].hex() if isinstance(piece[0], bytes) else piece[0]
