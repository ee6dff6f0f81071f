"""A stand-in for S3 that refuses objects as S3 does: archived ones, and those that are encrypted with
a key that the role has not.
"""

import email.utils
import http.server
import threading
import time
import urllib.parse
from unittest import mock

import package  # noqa: F401 (puts the runtime on the path)

from nx_ec2_runtime.aws import signed_requests
from nx_ec2_runtime.aws.bucket import Bucket
from nx_ec2_runtime.aws.credentials import Credentials
from nx_ec2_runtime.aws.http_pool import Connections

PREFIX = "v2/projects/p/run/r/"
# What a GET and a HEAD of such an object get: its status and code. A HEAD has no body.
KINDS = {
    "archived": ((403, "InvalidObjectState"), (200, "")),
    "ssec": ((400, "InvalidRequest"), (400, "")),
    "foreign-key": ((403, "AccessDenied"), (403, "")),
    "disabled-key": ((400, "KMS.DisabledException"), (400, "")),
}
WORDS = {
    "foreign-key": "User: role is not authorized to perform: kms:Decrypt on this resource",
}


class Role:
    def credentials(self, refused=None):
        return Credentials(key="AKIAROLE", secret="secret", token="token", expires=0)


class S3:
    """`objects`: {key below the prefix: [bytes, ETag, when it was written (s), kind]}. `denied`: what the
    role may not do, of "get", "list"; with "missing", a GET of what is not there is a 403, as for a
    role that may list below some prefixes only. `ahead`: seconds that have passed. `writes`: (name, condition)
    of each write that was taken.
    """

    def __init__(self, prefix=PREFIX):
        self.prefix = prefix
        self.objects, self.denied, self.ahead, self.writes, self.count = {}, set(), 0, [], 0
        self.lock = threading.RLock()
        s3 = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_PUT(self):
                data = self.rfile.read(int(self.headers["Content-Length"]))
                with s3.lock:
                    self.answer(*s3.write(s3.name(self.path), data, self.headers))

            def do_GET(self):
                with s3.lock:
                    if "list-type=2" in self.path:
                        self.answer(*s3.list(self.path))
                    else:
                        self.answer(*s3.get(s3.name(self.path)))

            def do_HEAD(self):
                with s3.lock:
                    self.answer(*s3.get(s3.name(self.path), head=True))

            def answer(self, status, body, headers=()):
                self.send_response_only(status)
                self.send_header("Date", email.utils.formatdate(s3.now(), usegmt=True))
                for name, value in dict(headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.connections = Connections()

    def close(self):
        self.connections.close()
        self.server.shutdown()
        self.server.server_close()

    def bucket(self):
        access = {
            "access": "role",
            "bucket": "b",
            "region": "eu-west-1",
            "endpoint": "http://127.0.0.1:%d" % self.server.server_address[1],
            "pathStyle": True,
            "owner": None,
            "kms": None,
            "prefix": self.prefix,
            "post": None,
        }
        with mock.patch.object(signed_requests, "instance_role", Role):
            return Bucket(access, "role", self.connections)

    def overwrite(self, name, data, kind=None):
        """As another program writes: with no condition."""
        with self.lock:
            self.count += 1
            self.objects[name] = (data, '"%d"' % self.count, self.now(), kind)

    def bytes(self, name):
        return self.objects[name][0]

    def now(self):
        return time.time() + self.ahead

    def name(self, path):
        return urllib.parse.unquote(urllib.parse.urlsplit(path).path)[len("/b/" + self.prefix) :]

    def write(self, name, data, headers):
        there = self.objects.get(name)
        if self.headers_refuse(there, headers):
            return error(412, "PreconditionFailed")
        if "If-Match" in headers and "get" in self.denied:
            return error(403, "AccessDenied")
        if there is None and "If-Match" in headers:
            return error(404, "NoSuchKey")
        self.overwrite(name, data)
        condition = {key: headers[key] for key in ("If-Match", "If-None-Match") if key in headers}
        self.writes.append((name, condition))
        return 200, b"", {"ETag": self.objects[name][1]}

    def headers_refuse(self, there, headers):
        if there and "If-None-Match" in headers:
            return True
        return there and "If-Match" in headers and headers["If-Match"] != there[1]

    def get(self, name, head=False):
        there = self.objects.get(name)
        if "get" in self.denied or (there is None and self.denied):
            return error(403, "AccessDenied", "Access Denied")
        if there is None:
            return error(404, "NoSuchKey")
        data, etag, written, kind = there
        status, code = KINDS[kind][head] if kind else (200, "")
        if status != 200:
            return error(status, code, WORDS.get(kind, "no"))
        return (
            200,
            data,
            {"ETag": etag, "Last-Modified": email.utils.formatdate(written, usegmt=True)},
        )

    def list(self, path):
        if "list" in self.denied:
            return error(403, "AccessDenied", "Access Denied")
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(path).query))
        keys = sorted(
            key for key in self.objects if (self.prefix + key).startswith(query["prefix"])
        )
        listed = "".join(
            "<Contents><Key>%s</Key><LastModified>%s</LastModified><ETag>%s</ETag><Size>%d</Size></Contents>"
            % (
                urllib.parse.quote(self.prefix + key),
                time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(self.objects[key][2])),
                self.objects[key][1].replace('"', "&quot;"),
                len(self.objects[key][0]),
            )
            for key in keys[: int(query.get("max-keys", 1000))]
        )
        return 200, ("<ListBucketResult>%s</ListBucketResult>" % listed).encode(), {}


def error(status, code, message=""):
    return (
        status,
        ("<Error><Code>%s</Code><Message>%s</Message></Error>" % (code, message)).encode(),
        {},
    )
