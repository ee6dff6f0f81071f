"""Errors as data: a code, a message, a detail (docs/FORMAT.md, "Reply")."""


class Failure(Exception):
    def __init__(self, code, message, **detail):
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail

    def with_aws(self):
        """The message and AWS's own words, which are there once."""
        words = str(self.detail.get("aws") or "")
        return self.message if words in self.message else "%s: %s" % (self.message, words)

    def data(self):
        return {"code": self.code, "message": self.message, "detail": self.detail}
