import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { Faults } from './link/faults';
import { INSTANCE_IDENTITY, LOCAL_IDENTITY } from './protocol/identity';
import { Network } from './link/network';
import { LocalRegion } from './region';
import { RequestHandler } from './request-handler';
import { Streams } from './session/streams';
import { sessionUser, type SessionUser } from './session/user';
import { prepareStateDirectory } from './state/state-directory';
import { lockState } from './state/state-lock';
import type { LocalAws, LocalAwsOptions } from './types';
import { rejectUpgrade, rejectWebPage } from './protocol/web-page';

/** A client that polls every ten seconds finds its connection as it was. */
const KEEP_ALIVE_TIMEOUT_MS = 20_000;

/** Who has not sent the head of a request in this time is hung up on. Node has no such limit without one of the whole request. */
const HEADERS_TIMEOUT_MS = 60_000;

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

async function start(options: LocalAwsOptions, user: SessionUser | undefined, unlock: () => void): Promise<LocalAws> {
  const faults = new Faults(options.faults);
  const network = new Network(options.network ?? {});
  const region = new LocalRegion(options, user);
  region.populate();
  const { identities } = region;
  const { history } = options;
  const handler = new RequestHandler({ services: region.createServices(), identities, faults, network, history });
  const streams = new Streams(region.ssm.sessions, faults, () => handler.network.client);
  const server = createHttpServer(handler, streams, region, options.hosts);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  region.listen(port);
  const close = async () => {
    region.ssm.close();
    streams.close();
    region.closeServices();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    unlock();
  };
  return { ...controls(region, handler), faults, port, close };
}

/** The server that has a handler answer requests, and streams take what is upgraded. */
function createHttpServer(handler: RequestHandler, streams: Streams, region: LocalRegion, hosts?: string[]): Server {
  const take = (asksFirst: boolean) => (request: IncomingMessage, response: ServerResponse) => {
    const refused = rejectWebPage(request, request.socket.localPort!, hosts);
    if (refused !== undefined) {
      request.resume();
      return void response.writeHead(403, { 'content-type': 'text/plain', connection: 'close' }).end(refused);
    }
    if (request.url?.startsWith('/imds/')) return region.metadata.answer(request, response);
    handler.answer(request, response, asksFirst).catch(() => response.destroy());
  };
  // A slow link takes its time.
  const timeouts = { requestTimeout: 0, headersTimeout: HEADERS_TIMEOUT_MS, keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS };
  const server = createServer(timeouts, take(false));
  // Node drops the headers above this number, 2,000 if it is not set: an Origin header could be one of them.
  server.maxHeadersCount = 0;
  server.on('checkContinue', take(true));
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    const refused = rejectWebPage(request, socket.localPort!, hosts);
    if (refused !== undefined) return rejectUpgrade(socket, refused);
    streams.upgrade(request, socket, head, handler.connected(socket)).catch(() => socket.destroy());
  });
  server.on('connection', (socket: Socket) => handler.open(socket));
  return server;
}

/** What a test or the command line sees of local AWS, and changes. */
function controls(region: LocalRegion, handler: RequestHandler): Omit<LocalAws, 'faults' | 'port' | 'close'> {
  const { instances, ssm, ec2, s3 } = region;
  return {
    url: instances.url,
    instances,
    named: region.named,
    requests: handler.requests,
    calls: handler.calls,
    commands: ssm.invocations,
    traffic: () => handler.network.traffic,
    useNetwork: (profile) => {
      handler.network = new Network(profile);
      ssm.pickUp = profile.pickUp ?? 0;
    },
    environment: region.environment(LOCAL_IDENTITY.accessKeyId),
    instanceEnvironment: region.environment(INSTANCE_IDENTITY.accessKeyId),
    role: (instance) => region.role(instance),
    capacity: ec2.capacity,
    profiles: ec2.profiles,
    quotas: region.quotas.quotas,
    disabledKeys: s3.disabledKeys,
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
  };
}
