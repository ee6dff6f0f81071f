"""Reading presigned URLs and writing by presigned forms."""

from __future__ import annotations

import base64
import http.client
import time
import urllib.error
import urllib.request
import uuid

from ..system.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from http.client import HTTPResponse
    from typing import BinaryIO, Callable, TypedDict

    class Form(TypedDict):
        """A presigned POST."""

        url: str
        fields: dict[str, str]


MAX_TRIES = 4


def open_url(what: str, url: str) -> HTTPResponse:
    """The answer of a GET; retried while the trouble may pass."""
    for attempt in range(MAX_TRIES):
        try:
            return urllib.request.urlopen(url, timeout=60)
        except urllib.error.HTTPError as error:
            body = error.read(2000).decode("utf-8", "replace")
            if error.code < 500 or attempt == MAX_TRIES - 1:
                raise Failure(
                    "FETCH_FAILED",
                    "the %s could not be fetched: HTTP %d" % (what, error.code),
                    what=what,
                    status=error.code,
                    aws=body,
                )
        except (OSError, http.client.HTTPException) as error:
            if attempt == MAX_TRIES - 1:
                raise Failure(
                    "FETCH_FAILED",
                    "the %s could not be fetched: %s" % (what, error),
                    what=what,
                    status=0,
                )
        time.sleep(0.5 * 2**attempt)
    raise AssertionError("the last try returns or raises")


def upload(
    post: Form,
    key: str,
    *,
    file: BinaryIO,
    size: int,
    sha256: str,
    on_bytes: Callable[[int], object] | None = None,
) -> None:
    """Writes one object by a presigned form (S3 presigned POST), streaming. `file` is read from
    where it stands; S3 checks its SHA-256 (hex).
    """
    start = file.tell()
    for attempt in range(MAX_TRIES):
        file.seek(start)
        try:
            status, body = _post(post, key, file=file, size=size, sha256=sha256, on_bytes=on_bytes)
        except (OSError, http.client.HTTPException) as error:
            status, body = 0, str(error)
        if 200 <= status < 300:
            return
        if 400 <= status < 500 or attempt == MAX_TRIES - 1:
            raise Failure(
                "UPLOAD_FAILED",
                "an upload was refused: %s" % (status or body),
                status=status,
                aws=body,
            )
        time.sleep(0.5 * 2**attempt)


def form(
    post: Form, key: str, *, sha256: str, content_type: str = "application/octet-stream"
) -> tuple[str, bytes, bytes]:
    """(content type, what comes before the object's bytes, what comes after them) of a form's
    request.

    The policy of our forms names the checksum and the content type: what it names must be there,
    what it does not name must not.
    """
    boundary = uuid.uuid4().hex
    fields = dict(post["fields"], key=key)
    fields["x-amz-checksum-sha256"] = base64.b64encode(bytes.fromhex(sha256)).decode()
    fields["Content-Type"] = content_type
    head = "".join(
        '--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (boundary, name, value)
        for name, value in fields.items()
    )
    head += (
        '--%s\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n" % boundary
    )
    return (
        "multipart/form-data; boundary=" + boundary,
        head.encode(),
        ("\r\n--%s--\r\n" % boundary).encode(),
    )


def _post(
    post: Form,
    key: str,
    *,
    file: BinaryIO,
    size: int,
    sha256: str,
    on_bytes: Callable[[int], object] | None,
) -> tuple[int, str]:
    content_type, head, tail = form(post, key, sha256=sha256)

    def body():
        yield head
        left = size
        while left:
            part = file.read(min(left, 256 * 1024))
            if not part:
                raise OSError("the file became shorter while it was sent")
            left -= len(part)
            if on_bytes:
                on_bytes(len(part))
            yield part
        yield tail

    request = urllib.request.Request(post["url"], data=body(), method="POST")
    request.add_header("Content-Type", content_type)
    request.add_header("Content-Length", str(len(head) + size + len(tail)))
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, error.read(2000).decode("utf-8", "replace")
