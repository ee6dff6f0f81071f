import { createHash, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Ec2Service } from './ec2/service';
import { LOCAL_IDENTITY, type Identity } from './identity';
import { Instances, type LocalInstance } from './instance/instances';
import { S3Service } from './s3/service';
import { AwsError, type Service, type ServiceResponse } from './service';
import { readClaim, verifyClaim } from './signature';
import { SsmService } from './ssm/service';
import { StsService } from './sts/service';

export interface LocalAwsOptions {
  /** Where its state is kept; a restart finds it again. */
  directory: string;
  /** 0: any that is free. */
  port?: number;
  region?: string;
  buckets?: string[];
  /** Instances to run, by Name; one that is there already is used. */
  instances?: string[];
  identities?: Identity[];
}

export interface LocalAws {
  url: string;
  port: number;
  /** What a client needs to reach it. */
  environment: Record<string, string>;
  instances: Instances;
  named: Map<string, LocalInstance>;
  /** Each request that was answered: service, action or method, status. */
  requests: { service: string; action: string; status: number }[];
  close(): Promise<void>;
}

/** S3, SSM, EC2 and STS on one port of loopback. A service is known by the scope of the request's signature. */
export async function startLocalAws(options: LocalAwsOptions): Promise<LocalAws> {
  const region = options.region ?? 'eu-west-1';
  const identities = new Map([LOCAL_IDENTITY, ...(options.identities ?? [])].map((each) => [each.accessKeyId, each]));
  const instances = new Instances(join(options.directory, 'instances'));
  const s3 = new S3Service(join(options.directory, 's3'), region, identities);
  const services: Record<string, Service> = {
    s3,
    ssm: new SsmService(instances, region),
    ec2: new Ec2Service(instances, region),
    sts: new StsService(),
  };
  for (const bucket of options.buckets ?? []) s3.buckets.create(bucket);
  const named = new Map<string, LocalInstance>();
  for (const name of options.instances ?? []) {
    named.set(
      name,
      instances.all().find(({ tags, state }) => tags.Name === name && state === 'running') ??
        instances.launch({ tags: { Name: name } }),
    );
  }
  const requests: LocalAws['requests'] = [];

  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const requestId = randomUUID();
    let service: Service = s3;
    let name = 's3';
    let answered: ServiceResponse;
    let action = request.method ?? '';
    try {
      const body = await readBody(request);
      const [rawPath, rawQuery = ''] = (request.url ?? '/').split('?');
      const query = new URLSearchParams(rawQuery);
      const claim = readClaim(request.headers, query);
      let identity: Identity | null = null;
      if (claim) {
        name = claim.service;
        service = services[name];
        if (!service) throw new AwsError('UnknownOperationException', `Local AWS has no service ${name}.`, 404);
        action =
          String(request.headers['x-amz-target'] ?? '')
            .split('.')
            .pop() || (name === 's3' ? action : (new URLSearchParams(body.toString()).get('Action') ?? action));
        identity = identities.get(claim.accessKeyId) ?? null;
        const headers = { ...request.headers, 'x-local-body-sha256': createHash('sha256').update(body).digest('hex') };
        verifyClaim(claim, { method: request.method!, rawPath, rawQuery, headers }, identity ?? undefined, Date.now());
      }
      answered = await service.handle({
        method: request.method!,
        path: decodeURIComponent(rawPath),
        query,
        headers: request.headers,
        body,
        identity,
        requestId,
      });
    } catch (error) {
      if (!(error instanceof AwsError)) console.error(error);
      const known = error instanceof AwsError ? error : new AwsError('InternalError', String(error), 500);
      answered = service.error(known, requestId);
    }
    requests.push({ service: name, action, status: answered.status });
    response.writeHead(answered.status, {
      'x-amz-request-id': requestId,
      date: new Date().toUTCString(),
      ...answered.headers,
    });
    response.end(request.method === 'HEAD' ? undefined : answered.body);
  };
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  return {
    url,
    port,
    instances,
    named,
    requests,
    environment: {
      AWS_ENDPOINT_URL: url,
      AWS_ACCESS_KEY_ID: LOCAL_IDENTITY.accessKeyId,
      AWS_SECRET_ACCESS_KEY: LOCAL_IDENTITY.secretAccessKey,
      AWS_REGION: region,
    },
    close: async () => {
      instances.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts);
}
