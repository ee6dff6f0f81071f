import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { Calls } from './calls';
import { decodeUri } from './decode-uri';
import { Ec2Service } from './ec2/service';
import { faultError, Faults, withoutHeaders, type Fault } from './faults';
import { allow, Identities, INSTANCE_IDENTITY, LOCAL_IDENTITY, type Identity } from './identity';
import { Metadata } from './imds/metadata';
import { CloudInit } from './instance/cloud-init';
import { Instances, type LocalInstance } from './instance/instances';
import { Power } from './instance/power';
import { InstanceRole } from './instance/role';
import { headSize, linkOf, Network } from './network';
import { PricingService } from './pricing/service';
import { S3Service } from './s3/service';
import { SecretsManagerService } from './secretsmanager/service';
import { ServiceQuotasService } from './servicequotas/service';
import type { Service, ServiceRequest, ServiceResponse } from './service';
import { Streams } from './session/streams';
import { sessionUser } from './session/user';
import { chunkSigner, readClaim, verifyClaim, type ChunkSigner } from './signature';
import { verifyV2Url } from './signature-v2';
import { prepareStateDirectory, secretAccessKey } from './state-directory';
import { lockState } from './state-lock';
import { Parameters } from './ssm/parameters';
import { SsmService } from './ssm/service';
import { StsService } from './sts/service';
import { UnverifiedBodies } from './unverified-bodies';
import { rejectUpgrade, rejectWebPage } from './web-page';
import { AwsError } from './aws-error';
import { CONDITIONS } from './s3/conditions';
import type { LocalAwsOptions, AnsweredRequest, LocalAws } from './types';
import { isVerifiedByHead, read, now, pause } from './answer';

/** S3, SSM, EC2, STS, Secrets Manager, the price list, quotas and the instances' metadata on one port of loopback. A service is known by the scope of the request's signature. */
export async function startLocalAws(options: LocalAwsOptions): Promise<LocalAws> {
  const user = sessionUser(options.sessions?.user);
  prepareStateDirectory(options.directory, user?.gid);
  const unlock = lockState(options.directory);
  try {
    return await start(options, user, unlock);
  } catch (error) {
    unlock();
    throw error;
  }
}

async function start(
  options: LocalAwsOptions,
  user: ReturnType<typeof sessionUser>,
  unlock: () => void,
): Promise<LocalAws> {
  const region = options.region ?? 'eu-west-1';
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
        const target = String(request.headers['x-amz-target'] ?? '')
          .split('.')
          .pop();
        action = target || action;
        identity = identities.get(claim.accessKeyId) ?? null;
        const headers = { ...request.headers };
        // S3 signs what the request says of its body, and checks that by itself.
        if (name !== 's3') headers['x-local-body-sha256'] = createHash('sha256').update(body).digest('hex');
        verifyClaim(claim, { method: request.method!, rawPath, rawQuery, headers }, identity ?? undefined, Date.now());
        signer = chunkSigner(claim, identity!);
        // Parsed only after the sender is verified: 64 MiB of short fields become gigabytes.
        if (name !== 's3' && !target) action = new URLSearchParams(body.toString()).get('Action') ?? action;
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
    const refused = rejectWebPage(request, request.socket.localPort!, options.hosts);
    if (refused !== undefined) {
      request.resume();
      return void response.writeHead(403, { 'content-type': 'text/plain', connection: 'close' }).end(refused);
    }
    if (request.url?.startsWith('/imds/')) return metadata.answer(request, response);
    answer(request, response, asksFirst).catch(() => response.destroy());
  };
  // A slow link takes its time; and a client that polls every ten seconds finds its connection as it was.
  const server = createServer({ requestTimeout: 0, keepAliveTimeout: 20_000 }, take(false));
  // Node drops the headers above this number, 2,000 if it is not set: an Origin header could be one of them.
  server.maxHeadersCount = 0;
  server.on('checkContinue', take(true));
  const streams = new Streams(ssm.sessions, faults, () => network.client);
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    const refused = rejectWebPage(request, socket.localPort!, options.hosts);
    if (refused !== undefined) return rejectUpgrade(socket, refused);
    const connected = network.client.connected(socket, opened.get(socket)!);
    streams.upgrade(request, socket, head, connected).catch(() => socket.destroy());
  });
  server.on('connection', (socket: Socket) => opened.set(socket, performance.now()));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', resolve);
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
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
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
