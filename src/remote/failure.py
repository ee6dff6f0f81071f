"""Errors as data: a code, a message, a detail (docs/FORMAT.md, "Reply")."""


class Failure(Exception):
    def __init__(self, code, message, **detail):
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail

    def data(self):
        return {"code": self.code, "message": self.message, "detail": self.detail}
