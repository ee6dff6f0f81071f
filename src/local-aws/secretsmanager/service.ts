import { randomBytes, randomUUID } from 'node:crypto';
import { ACCOUNT } from '../protocol/identity';
import { answerJson, jsonError, type Json } from '../protocol/json-protocol';
import { KeptJson } from '../state/kept-json';
import type { Service, ServiceRequest, ServiceResponse } from '../protocol/service';
import { AwsError } from '../protocol/aws-error';

interface Secret {
  ARN: string;
  Name: string;
  VersionId: string;
  CreatedDate: number;
  SecretString?: string;
  SecretBinary?: string;
}

/** Secrets Manager: JSON 1.1. Each secret has its current version alone. */
export class SecretsManagerService implements Service {
  private readonly kept: KeptJson<Secret>;
  private readonly actions: Record<string, (input: Json) => Json>;

  constructor(
    file: string,
    private readonly region: string,
  ) {
    this.kept = new KeptJson(file);
    this.actions = {
      CreateSecret: (input) => {
        const name = String(input.Name);
        if (this.kept.get(name))
          throw new AwsError(
            'ResourceExistsException',
            `The operation failed because the secret ${name} already exists.`,
          );
        const suffix = randomBytes(3).toString('hex');
        return this.store(name, `arn:aws:secretsmanager:${this.region}:${ACCOUNT}:secret:${name}-${suffix}`, input);
      },
      PutSecretValue: (input) => {
        const { Name, ARN } = this.find(input);
        return this.store(Name, ARN, input);
      },
      GetSecretValue: (input) => {
        const found = this.find(input);
        if (found.SecretString === undefined && found.SecretBinary === undefined)
          throw new AwsError(
            'ResourceNotFoundException',
            "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
          );
        return { ...found, VersionStages: ['AWSCURRENT'] };
      },
    };
  }

  error(error: AwsError, requestId: string): ServiceResponse {
    return jsonError(error, requestId);
  }

  async handle(request: ServiceRequest): Promise<ServiceResponse> {
    return answerJson(this.actions, request);
  }

  private store(Name: string, ARN: string, { SecretString, SecretBinary }: Json): Json {
    const VersionId = randomUUID();
    this.kept.set(Name, {
      ARN,
      Name,
      VersionId,
      CreatedDate: Date.now() / 1000,
      SecretString: SecretString as string | undefined,
      SecretBinary: SecretBinary as string | undefined,
    });
    return { ARN, Name, VersionId };
  }

  /** By its name, or its ARN with or without the six characters at its end. */
  private find({ SecretId }: Json): Secret {
    const id = String(SecretId);
    const name = /^arn:[^:]*:secretsmanager:[^:]*:\d*:secret:(.*)$/.exec(id)?.[1] ?? id;
    const found = this.kept.get(name) ?? this.kept.get(name.replace(/-[0-9A-Za-z]{6}$/, ''));
    if (!found || (id.startsWith('arn:') && !found.ARN.startsWith(id)))
      throw new AwsError('ResourceNotFoundException', "Secrets Manager can't find the specified secret.");
    return found;
  }
}
