"""The values of a run's secrets, read by the instance's role when the run starts."""

from __future__ import annotations

import json

from ..aws.endpoints import is_region, service_url
from ..aws.http_pool import Connections, in_parallel
from ..aws.signed_requests import Service
from ..system.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..aws.signed_requests import Answer
    from ..system.documents import RunSpec

PERMISSIONS = {
    "ssm": "ssm:GetParameter on it, and kms:Decrypt where its key is not aws/ssm",
    "secretsmanager": (
        "secretsmanager:GetSecretValue on it, and kms:Decrypt where its key is not "
        "aws/secretsmanager"
    ),
}


def read_secrets(spec: RunSpec) -> dict[str, str]:
    """{NAME: value} of a run's `secrets`. SECRET_FAILED: `detail.name`, `.source`, `.aws`, `.fix`;
    NO_ROLE.
    """
    connections = Connections()
    values: dict[str, str] = {}

    def read(item: tuple[str, str]) -> None:
        name, source = item
        values[name] = SecretSource(name, source, spec=spec, connections=connections).read()

    in_parallel(spec["secrets"].items(), read)
    connections.close()
    return {name: values[name] for name in spec["secrets"]}


class SecretSource:
    """`ssm:<parameter>` or `secretsmanager:<secret>[#<key of its JSON>]`, each by name or ARN."""

    def __init__(self, name: str, source: str, *, spec: RunSpec, connections: Connections) -> None:
        self.name, self.source = name, source
        self.kind, _, self.id = source.partition(":")
        if self.kind not in PERMISSIONS or not self.id:
            how = 'it is neither "ssm:<parameter>" nor "secretsmanager:<secret>[#<key>]"'
            raise self._failure(how)
        # An ARN names its region, which may be another than that of the store.
        is_arn = self.id.startswith("arn:") and self.id.count(":") >= 5
        region = self.id.split(":")[3] if is_arn else spec["store"]["region"]
        if is_arn and not is_region(region):
            raise self._failure("its ARN has %r in place of the id of a region" % region)
        endpoints = {
            "ssm": spec["endpoints"].get("ssm"),
            "secretsmanager": spec["endpoints"].get("secretsmanager"),
        }
        self.url = service_url(self.kind, region, endpoints[self.kind])
        self.service = Service(self.kind, region, connections=connections)

    def read(self) -> str:
        value = self._parameter() if self.kind == "ssm" else self._secret()
        if "\0" in value:
            raise self._failure("its value contains a NUL byte, which a variable can't hold")
        return value

    def _parameter(self) -> str:
        wanted = {"Name": self.id, "WithDecryption": True}
        return self._ask("AmazonSSM.GetParameter", wanted)["Parameter"]["Value"]

    def _secret(self) -> str:
        secret, _, key = self.id.partition("#")
        answer = self._ask("secretsmanager.GetSecretValue", {"SecretId": secret})
        value: str | None = answer.get("SecretString")
        if value is None:
            raise self._failure("it is binary, not text")
        if not key:
            return value
        try:
            found = json.loads(value)[key]
        except ValueError:
            raise self._failure("it is not JSON, so it has no key %s" % key)
        except (KeyError, TypeError, IndexError):
            raise self._failure("its JSON has no key %s" % key)
        return found if isinstance(found, str) else json.dumps(found)

    def _ask(self, target: str, values: object) -> Any:
        answer = self.service.call(target, values, self.url)
        if answer.status != 200:
            raise self._failure(answer.words, answer)
        return json.loads(bytes(answer.body))

    def _failure(self, why: str, answer: Answer | None = None) -> Failure:
        """The failure without the value: why AWS, or this module, did not give it."""
        message = "the secret %s could not be read from %s: %s" % (self.name, self.source, why)
        fix = None
        if answer and (answer.status == 403 or "AccessDenied" in answer.code):
            fix = "give the instance's role " + PERMISSIONS[self.kind]
            message += "; " + fix
        return Failure(
            "SECRET_FAILED",
            message,
            name=self.name,
            source=self.source,
            status=answer.status if answer else None,
            aws=answer.words if answer else None,
            fix=fix,
        )
