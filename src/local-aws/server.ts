import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Ec2Service } from './ec2/service';
import { faultError, Faults, type Fault } from './faults';
import { Identities, LOCAL_IDENTITY, type Identity } from './identity';
import { Instances, type LocalInstance } from './instance/instances';
import { S3Service } from './s3/service';
import { AwsError, type Service, type ServiceResponse } from './service';
import { chunkSigner, readClaim, verifyClaim, type ChunkSigner } from './signature';
import { verifyV2Url } from './signature-v2';
import { lockState } from './state-lock';
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
  /** What goes wrong. */
  faults?: Fault[];
  network?: NetworkProfile;
  /** From an instance's launch to its agent being online, ms; half of it the instance is pending. */
  boot?: number;
}

/** How far away local AWS seems to be. */
export interface NetworkProfile {
  /** From a request's first byte to its answer's, ms, on top of what it takes here. */
  roundTrip?: number;
  /** Bytes a second towards AWS and back, for each request. */
  upload?: number;
  download?: number;
}

export interface LocalAws {
  url: string;
  port: number;
  /** What a client needs to reach it. */
  environment: Record<string, string>;
  instances: Instances;
  faults: Faults;
  named: Map<string, LocalInstance>;
  /** Each request that was answered: service, action or method, status. */
  requests: { service: string; action: string; status: number }[];
  close(): Promise<void>;
}

/** S3, SSM, EC2 and STS on one port of loopback. A service is known by the scope of the request's signature. */
export async function startLocalAws(options: LocalAwsOptions): Promise<LocalAws> {
  const region = options.region ?? 'eu-west-1';
  const unlock = lockState(options.directory);
  const identities = new Identities([LOCAL_IDENTITY, ...(options.identities ?? [])]);
  const faults = new Faults(options.faults);
  const network = options.network ?? {};
  const instances = new Instances(join(options.directory, 'instances'), options.boot ?? 0);
  const s3 = new S3Service(join(options.directory, 's3'), region, identities);
  const services: Record<string, Service> = {
    s3,
    ssm: new SsmService(instances, region),
    ec2: new Ec2Service(instances, region),
    sts: new StsService(identities),
  };
  for (const bucket of options.buckets ?? []) s3.buckets.create(bucket);
  const named = new Map<string, LocalInstance>();
  for (const name of options.instances ?? []) {
    named.set(
      name,
      instances.all().find(({ tags, state }) => tags.Name === name && state === 'running') ??
        instances.launch({ tags: { Name: name }, booted: true }),
    );
  }
  const requests: LocalAws['requests'] = [];

  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const requestId = randomUUID();
    let service: Service = s3;
    let name = 's3';
    let answered: ServiceResponse;
    let action = request.method ?? '';
    let cut: Fault['cut'];
    try {
      const body = await readBody(request);
      await pause((network.roundTrip ?? 0) + transfer(body.length, network.upload));
      const [rawPath, rawQuery = ''] = (request.url ?? '/').split('?');
      const query = new URLSearchParams(rawQuery);
      const claim = readClaim(request.headers, query);
      let identity: Identity | null = null;
      let signer: ChunkSigner | undefined;
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
        signer = chunkSigner(claim, identity!);
      } else {
        identity = verifyV2Url({ method: request.method!, rawPath, query }, identities, Date.now());
      }
      const fault = faults.take(name, action);
      if (fault?.delay) await pause(fault.delay);
      cut = fault?.cut;
      if (cut === 'before') return void response.destroy();
      const error = fault && faultError(fault);
      if (error) throw error;
      answered = await service.handle({
        method: request.method!,
        path: decodeURIComponent(rawPath),
        query,
        headers: request.headers,
        body,
        identity,
        signer,
        region: claim?.region,
        requestId,
      });
      if (cut === 'after') return void response.destroy();
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
    const { body } = answered;
    if (request.method === 'HEAD' || body === undefined) return void response.end();
    if (typeof body === 'string' || Buffer.isBuffer(body)) {
      await pause(transfer(body.length, network.download));
      return void response.end(body);
    }
    await pause(transfer(body.to - body.from, network.download));
    createReadStream(body.file, { start: body.from, end: body.to })
      .on('error', () => response.destroy())
      .pipe(response);
  };
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', resolve);
  }).catch((error) => {
    unlock();
    throw error;
  });
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  return {
    url,
    port,
    instances,
    faults,
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
      unlock();
    },
  };
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

/** ms that so many bytes take at so many a second. */
function transfer(bytes: number, rate: number | undefined): number {
  return rate ? (bytes / rate) * 1000 : 0;
}

async function pause(ms: number): Promise<void> {
  if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
}
