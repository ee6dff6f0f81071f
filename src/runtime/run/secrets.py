"""The values of a run's secrets, read by the instance's role when the run starts."""
import json

from ..aws.endpoints import service_url
from ..aws.http_pool import Connections, in_parallel
from ..aws.signed_requests import Service
from ..system.errors import Failure

PERMISSIONS = {
    "ssm": "ssm:GetParameter on it, and kms:Decrypt where its key is not aws/ssm",
    "secretsmanager": "secretsmanager:GetSecretValue on it, and kms:Decrypt where its key is not aws/secretsmanager",
}


def read_secrets(part):
    """{NAME: value} of a run's `secrets`. SECRET_FAILED: `detail.name`, `.source`, `.aws`, `.fix`; NO_ROLE."""
    connections, values = Connections(), {}
    region, endpoints = part["store"]["region"], part["endpoints"]

    def read(item):
        name, source = item
        values[name] = SecretSource(name, source, region, endpoints, connections).read()

    in_parallel(part["secrets"].items(), read)
    connections.close()
    return {name: values[name] for name in part["secrets"]}


class SecretSource:
    """`ssm:<parameter>` or `secretsmanager:<secret>[#<key of its JSON>]`, each by name or ARN."""

    def __init__(self, name, source, region, endpoints, connections):
        self.name, self.source = name, source
        self.kind, _, self.id = source.partition(":")
        if self.kind not in PERMISSIONS or not self.id:
            raise self.failure('it is neither "ssm:<parameter>" nor "secretsmanager:<secret>[#<key>]"')
        # A resource of another region is asked for where it is.
        region = self.id.split(":")[3] if self.id.startswith("arn:") and self.id.count(":") >= 5 else region
        self.url = service_url(self.kind, region, endpoints.get(self.kind))
        self.service = Service(self.kind, region, connections=connections)

    def read(self):
        value = self.parameter() if self.kind == "ssm" else self.secret()
        if "\0" in value:
            raise self.failure("its value contains a NUL byte, which a variable can't hold")
        return value

    def parameter(self):
        return self.ask("AmazonSSM.GetParameter", {"Name": self.id, "WithDecryption": True})["Parameter"]["Value"]

    def secret(self):
        secret, _, key = self.id.partition("#")
        value = self.ask("secretsmanager.GetSecretValue", {"SecretId": secret}).get("SecretString")
        if value is None:
            raise self.failure("it is binary, not text")
        if not key:
            return value
        try:
            found = json.loads(value)[key]
        except ValueError:
            raise self.failure("it is not JSON, so it has no key %s" % key)
        except (KeyError, TypeError, IndexError):
            raise self.failure("its JSON has no key %s" % key)
        return found if isinstance(found, str) else json.dumps(found)

    def ask(self, target, values):
        answer = self.service.call(target, values, self.url)
        if answer.status != 200:
            denied = answer.status == 403 or "AccessDenied" in answer.code
            raise self.failure(answer.words, answer, "give the instance's role " + PERMISSIONS[self.kind] if denied else None)
        return json.loads(bytes(answer.body))

    def failure(self, why, answer=None, fix=None):
        """Never the value: why AWS, or we, can not give it."""
        message = "the secret %s could not be read from %s: %s" % (self.name, self.source, why)
        if fix:
            message += "; " + fix
        return Failure("SECRET_FAILED", message, name=self.name, source=self.source, status=answer.status if answer else None, aws=answer.words if answer else None, fix=fix)
