import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, createReadStream } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { Calls } from './calls';
import type { Capacity } from './ec2/capacity';
import type { InstanceProfiles } from './ec2/profiles';
import { decodeUri } from './decode-uri';
import { Ec2Service, type Left } from './ec2/service';
import { faultError, Faults, withoutHeaders, type Fault } from './faults';
import { allow, Identities, INSTANCE_IDENTITY, LOCAL_IDENTITY, type Identity, type IdentityOptions } from './identity';
import { Metadata } from './imds/metadata';
import { CloudInit } from './instance/cloud-init';
import { Instances, type AgentChannel, type InstanceTimes, type LocalInstance } from './instance/instances';
import { Power } from './instance/power';
import { InstanceRole } from './instance/role';
import { headSize, linkOf, Network, type LinkName, type LinkTraffic, type NetworkProfile } from './network';
import { PricingService } from './pricing/service';
import { CONDITIONS, S3Service } from './s3/service';
import { SecretsManagerService } from './secretsmanager/service';
import { ServiceQuotasService, type Quotas } from './servicequotas/service';
import { AwsError, type Service, type ServiceRequest, type ServiceResponse } from './service';
import type { SessionOptions } from './session/sessions';
import { Streams } from './session/streams';
import { sessionUser } from './session/user';
import { chunkSigner, readClaim, verifyClaim, type ChunkSigner } from './signature';
import { verifyV2Url } from './signature-v2';
import { prepareStateDirectory, secretAccessKey } from './state-directory';
import { lockState } from './state-lock';
import type { Invocation } from './ssm/invocation';
import { Parameters } from './ssm/parameters';
import { SsmService } from './ssm/service';
import { StsService } from './sts/service';
import { UnverifiedBodies } from './unverified-bodies';
import { refuseUpgrade, refuseWebPage } from './web-page';

export interface LocalAwsOptions extends InstanceTimes {
  /** Where its state is kept; a restart finds it again. */
  directory: string;
  /** 0: any that is free. */
  port?: number;
  region?: string;
  buckets?: string[];
  /** Instances to run, by Name; one that is there already is used. */
  instances?: string[];
  identities?: IdentityOptions[];
  /** Names that it is reached by besides its own, at any port: of a proxy in front of it. */
  hosts?: string[];
  /** What goes wrong. */
  faults?: Fault[];
  network?: NetworkProfile;
  /** How the agents of instances get their commands; absent: by the message gateway. */
  agentChannel?: AgentChannel;
  sessions?: SessionOptions;
}

/** A request that was answered. */
export interface AnsweredRequest {
  service: string;
  /** S3: the method. */
  action: string;
  status: number;
  /** As it came, without its query. */
  path: string;
  link: LinkName;
  /** When it was on the wire, and when its answer was through: ms since the epoch, with fractions. */
  sent: number;
  answered: number;
  /** Bytes, heads included. */
  up: number;
  down: number;
}

export interface LocalAws {
  url: string;
  port: number;
  /** What a client needs to reach it. */
  environment: Record<string, string>;
  instances: Instances;
  faults: Faults;
  named: Map<string, LocalInstance>;
  /** Credentials of a role, for a program that is to speak as an instance does. */
  instanceEnvironment: Record<string, string>;
  /** The role of an instance, which it has by its metadata service: to be taken away, denied things, or let expire. */
  role(instance: string): InstanceRole;
  /** What EC2 is short of. */
  capacity: Capacity;
  /** Instance profiles that EC2 does not know yet. */
  profiles: InstanceProfiles;
  /** What the account may have at once. */
  quotas: Quotas;
  /** Takes a spot instance back. @param noticeMs from the notice to its end; absent: two minutes. */
  interrupt(instance: string, options?: { noticeMs?: number }): void;
  /** Tells a spot instance that it is at risk. */
  recommendRebalance(instance: string): void;
  /** What is still there of all that was made. */
  left(): Left;
  requests: AnsweredRequest[];
  /** The same as IAM sees them, to be looked at and cleared. */
  calls: Calls;
  /** Each command, with when it was sent, started and ended. */
  commands: readonly Invocation[];
  /** What went over each link so far. */
  traffic(): Record<LinkName, LinkTraffic>;
  /** From now on it is that far away; what went over the links is counted anew. */
  useNetwork(profile: NetworkProfile): void;
  /** From now on an instance's agent, or those of all, get their commands so. */
  useAgentChannel(channel: AgentChannel, instance?: string): void;
  /** Starts an instance's agent anew: its sessions end, its commands go on. */
  restartAgent(instance: string): void;
  /** Takes notice of what another hand changed in the directory of its buckets. */
  reread(): void;
  close(): Promise<void>;
}

/** S3, SSM, EC2, STS, Secrets Manager, the price list, quotas and the instances' metadata on one port of loopback. A service is known by the scope of the request's signature. */
export async function startLocalAws(options: LocalAwsOptions): Promise<LocalAws> {
  const region = options.region ?? 'eu-west-1';
  const user = sessionUser(options.sessions?.user);
  prepareStateDirectory(options.directory, user?.gid);
  const unlock = lockState(options.directory);
  const identities = new Identities(secretAccessKey(options.directory), [
    LOCAL_IDENTITY,
    INSTANCE_IDENTITY,
    ...(options.identities ?? []),
  ]);
  const faults = new Faults(options.faults);
  let network = new Network(options.network ?? {});
  const instances = new Instances(join(options.directory, 'instances'), options, region);
  instances.channel = options.agentChannel ?? 'gateway';
  const cloudInit = new CloudInit(instances);
  const power = new Power(instances);
  const s3 = new S3Service(join(options.directory, 's3'), region, identities);
  const roles = new Map<string, InstanceRole>();
  const role = (instance: string) => {
    const profile = instances.get(instance)?.profile ?? null;
    const found = roles.get(instance) ?? new InstanceRole(instance, identities, profile);
    roles.set(instance, found);
    return found;
  };
  const metadata = new Metadata(instances, region, role, power);
  const ssm = new SsmService({
    instances,
    region,
    parameters: new Parameters(join(options.directory, 'parameters.json'), region),
    identityOf: (instance) => (role(instance).name === null ? null : role(instance).credentials()),
    pickUp: options.network?.pickUp,
    sessions: options.sessions,
    sessionUser: user,
  });
  const ec2 = new Ec2Service(instances, region, join(options.directory, 'ec2'));
  const quotas = new ServiceQuotasService(region);
  const services: Record<string, Service> = {
    s3,
    ssm,
    ec2,
    sts: new StsService(identities),
    secretsmanager: new SecretsManagerService(join(options.directory, 'secrets.json'), region),
    pricing: new PricingService(region),
    servicequotas: quotas,
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
  const requests: AnsweredRequest[] = [];
  const calls = new Calls();
  const opened = new WeakMap<Socket, number>();
  const unverified = new UnverifiedBodies();

  const answer = async (request: IncomingMessage, response: ServerResponse, asksFirst: boolean) => {
    const requestId = randomUUID();
    const linkName = linkOf(request, (key) => identities.get(key)?.instance !== undefined);
    const link = network[linkName];
    await link.connected(request.socket, opened.get(request.socket)!);
    const sent = now();
    if (asksFirst) {
      await link.thereAndBack();
      response.writeContinue();
    }
    const [rawPath, rawQuery = ''] = (request.url ?? '/').split('?');
    const counted = isVerifiedByHead(request, identities) ? undefined : unverified.open();
    // Until the answer is through, or the client is gone.
    response.once('close', () => counted?.release());
    const received = await link.receive(request, counted?.take).catch((error: unknown) => {
      if (!(error instanceof AwsError)) throw error;
      return error;
    });
    if (received instanceof AwsError) {
      const { status, headers, body } = s3.error(received, requestId);
      return void response.writeHead(status, { ...headers, connection: 'close' }).end(body);
    }
    const { body, size: up } = received;
    let service: Service = s3;
    let name = 's3';
    let answered: ServiceResponse;
    let asked: ServiceRequest | undefined;
    let action = request.method ?? '';
    let cut: Fault['cut'];
    try {
      const query = new URLSearchParams(rawQuery);
      const claim = readClaim(request.headers, query);
      let identity: Identity | null = null;
      let signer: ChunkSigner | undefined;
      if (claim) {
        if (!Object.hasOwn(services, claim.service))
          throw new AwsError('UnknownOperationException', `Local AWS has no service ${claim.service}.`, 404);
        name = claim.service;
        service = services[name];
        action =
          String(request.headers['x-amz-target'] ?? '')
            .split('.')
            .pop() || (name === 's3' ? action : (new URLSearchParams(body.toString()).get('Action') ?? action));
        identity = identities.get(claim.accessKeyId) ?? null;
        const headers = { ...request.headers };
        // S3 signs what the request says of its body, and checks that by itself.
        if (name !== 's3') headers['x-local-body-sha256'] = createHash('sha256').update(body).digest('hex');
        verifyClaim(claim, { method: request.method!, rawPath, rawQuery, headers }, identity ?? undefined, Date.now());
        signer = chunkSigner(claim, identity!);
      } else {
        identity = verifyV2Url({ method: request.method!, rawPath, query }, identities, Date.now());
      }
      asked = {
        method: request.method!,
        path: decodeUri(rawPath),
        query,
        headers: request.headers,
        body,
        identity,
        signer,
        region: claim?.region,
        requestId,
      };
      // S3 knows by itself which permission a request needs.
      if (name !== 's3') allow(identity, `${name}:${action}`);
      const fault = faults.take(name, action, linkName, request.headers);
      if (fault?.delay) await pause(fault.delay);
      cut = fault?.cut;
      if (cut === 'before') return void response.destroy();
      const error = fault && faultError(fault);
      if (error) throw error;
      let handled = fault?.ignore ? withoutHeaders(asked, fault.ignore) : asked;
      if (fault?.apart !== undefined) {
        s3.checkWrite(handled);
        await pause(fault.apart);
        handled = withoutHeaders(handled, CONDITIONS);
      }
      answered = await service.handle(handled);
      calls.add(name, action, asked);
      if (cut === 'after') {
        if (typeof answered.body === 'object' && 'file' in answered.body) closeSync(answered.body.file);
        return void response.destroy();
      }
    } catch (error) {
      if (!(error instanceof AwsError)) console.error(error);
      const known = error instanceof AwsError ? error : new AwsError('InternalError', String(error), 500);
      answered = service.error(known, requestId);
      if (asked) calls.add(name, action, asked, known.code);
    }
    const { body: content } = answered;
    const head = {
      'x-amz-request-id': requestId,
      date: new Date().toUTCString(),
      ...(typeof content === 'string' ? { 'content-length': Buffer.byteLength(content) } : {}),
      ...answered.headers,
    };
    response.writeHead(answered.status, head);
    let down = headSize(Object.entries(head).flat().map(String));
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const last = await link.send(down, request.method === 'HEAD' ? [] : read(content), async (piece) => {
      down += piece.length;
      // As much as the client takes; it fails when the client is gone.
      if (!response.write(piece)) await once(response, 'drain', { signal: gone.signal });
    });
    down += last.length;
    requests.push({
      service: name,
      action,
      status: answered.status,
      path: rawPath,
      link: linkName,
      sent,
      answered: now(),
      up,
      down,
    });
    response.end(last);
  };
  const take = (asksFirst: boolean) => (request: IncomingMessage, response: ServerResponse) => {
    const refused = refuseWebPage(request, request.socket.localPort!, options.hosts);
    if (refused !== undefined) {
      request.resume();
      return void response.writeHead(403, { 'content-type': 'text/plain', connection: 'close' }).end(refused);
    }
    if (request.url?.startsWith('/imds/')) return metadata.answer(request, response);
    answer(request, response, asksFirst).catch(() => response.destroy());
  };
  // A slow link takes its time; and a client that polls every ten seconds finds its connection as it was.
  const server = createServer({ requestTimeout: 0, keepAliveTimeout: 20_000 }, take(false));
  server.on('checkContinue', take(true));
  const streams = new Streams(ssm.sessions, faults, () => network.client);
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    const refused = refuseWebPage(request, socket.localPort!, options.hosts);
    if (refused !== undefined) return refuseUpgrade(socket, refused);
    const connected = network.client.connected(socket, opened.get(socket)!);
    streams.upgrade(request, socket, head, connected).catch(() => socket.destroy());
  });
  server.on('connection', (socket: Socket) => opened.set(socket, performance.now()));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', resolve);
  }).catch((error) => {
    unlock();
    throw error;
  });
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  instances.url = url;
  cloudInit.resume();
  ssm.sessions.url = `ws://127.0.0.1:${port}`;
  const environment = ({ accessKeyId, secretAccessKey, session }: Identity): Record<string, string> => ({
    AWS_ENDPOINT_URL: url,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    ...(session ? { AWS_SESSION_TOKEN: session.token } : {}),
    // boto3 reads the second alone.
    ...{ AWS_REGION: region, AWS_DEFAULT_REGION: region },
  });
  return {
    url,
    port,
    instances,
    faults,
    named,
    requests,
    calls,
    commands: ssm.invocations,
    traffic: () => network.traffic,
    useNetwork: (profile) => {
      network = new Network(profile);
      ssm.pickUp = profile.pickUp ?? 0;
    },
    environment: environment(identities.get(LOCAL_IDENTITY.accessKeyId)!),
    instanceEnvironment: environment(identities.get(INSTANCE_IDENTITY.accessKeyId)!),
    role,
    capacity: ec2.capacity,
    profiles: ec2.profiles,
    quotas: quotas.quotas,
    interrupt: (instance, how) => ec2.interruptions.interrupt(instance, how),
    recommendRebalance: (instance) => ec2.interruptions.recommendRebalance(instance),
    left: () => ec2.left(),
    useAgentChannel: (channel, instance) => {
      if (instance === undefined) instances.channels.clear();
      if (instance === undefined) instances.channel = channel;
      else instances.channels.set(instance, channel);
    },
    restartAgent: (instance) => ssm.restartAgent(instance),
    reread: () => s3.buckets.reread(),
    close: async () => {
      ssm.close();
      streams.close();
      for (const each of [cloudInit, power, ec2]) each.close();
      instances.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      unlock();
    },
  };
}

/** Whether a request of S3's is signed in its head, so that its sender is known before its body. */
function isVerifiedByHead({ method, url = '/', headers }: IncomingMessage, identities: Identities): boolean {
  const [rawPath, rawQuery = ''] = url.split('?');
  const query = new URLSearchParams(rawQuery);
  try {
    const claim = readClaim(headers, query);
    if (!claim) return verifyV2Url({ method: method!, rawPath, query }, identities, Date.now()) !== null;
    if (claim.service !== 's3') return false;
    verifyClaim(claim, { method: method!, rawPath, rawQuery, headers }, identities.get(claim.accessKeyId), Date.now());
    return true;
  } catch {
    // It is refused when it has come, as the service refuses it.
    return false;
  }
}

function read(body: ServiceResponse['body']): AsyncIterable<Buffer> | Buffer[] {
  if (body === undefined) return [];
  if (typeof body === 'string' || Buffer.isBuffer(body)) return [Buffer.from(body)];
  return createReadStream('', { fd: body.file, start: body.from, end: body.to, highWaterMark: 256 * 1024 });
}

/** ms since the epoch, finer than a millisecond: two processes of one machine agree on it. */
function now(): number {
  return performance.timeOrigin + performance.now();
}

async function pause(ms: number): Promise<void> {
  if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
}
