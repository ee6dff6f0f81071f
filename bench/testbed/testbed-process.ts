import { spawn } from 'node:child_process';
import { chmodSync, createReadStream, readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net';
import { join, normalize } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Fault } from '../../src/local-aws/link/faults';
import { MARK } from '../../src/local-aws/instance/instances';
import type { LinkProfile, LinkTraffic, NetworkProfile } from '../../src/local-aws/link/network';
import { startLocalAws } from '../../src/local-aws/server';
import { ProcessTree, type UsedBy } from '../processor/process-tree';
import { processorTime } from '../processor/processor-time';
import { Tunnel } from './tunnel';
import type { AnsweredRequest, LocalAws } from '../../src/local-aws/types';

/** What has happened so far. Times are ms since the epoch. */
export interface Observed {
  client: LinkTraffic;
  requests: AnsweredRequest[];
  /** Sent, begun and ended on the instance. */
  commands: { requested: number; started?: number; ended?: number }[];
  /** User and system time of the processes of commands that have ended, ms. Linux alone. */
  instanceProcessor?: number;
}

export interface Place {
  environment: Record<string, string>;
  instanceEnvironment: Record<string, string>;
  instances: { id: string; disk: string }[];
}

/** Highest of what the instances' processes held, bytes, looked at so often, ms: what ends within is missed. */
const LOOK = 20;
/** What was told to end has so long, ms. */
const GRACE = 3_000;

/** Local AWS and the tunnels, in a process of their own so that nobody's work delays what they carry. */
export class TestbedProcess {
  private network: NetworkProfile = {};
  private tunnels: Tunnel[] = [];
  /** What had happened when the network was set. */
  private before = { requests: 0, commands: 0, processor: 0 };
  private memory = 0;
  private tree: ProcessTree | undefined;
  private looking: NodeJS.Timeout | undefined;

  private constructor(private readonly aws: LocalAws) {}

  static async open(directory: string): Promise<TestbedProcess> {
    const aws = await startLocalAws({ directory, buckets: ['bench'], instances: ['one', 'two'], history: true });
    // Who trains is another user, who must get to the files.
    chmodSync(directory, 0o711);
    return new TestbedProcess(aws);
  }

  async place(): Promise<Place> {
    const { environment, instanceEnvironment, named, instances } = this.aws;
    return {
      environment,
      instanceEnvironment,
      instances: [...named.values()].map(({ id }) => ({ id, disk: instances.disk(id) })),
    };
  }

  /** From now on AWS is that far away. Tunnels are closed; what is observed begins anew. */
  async use(network: NetworkProfile): Promise<void> {
    this.network = network;
    this.aws.useNetwork(network);
    for (const tunnel of this.tunnels) tunnel.close();
    this.tunnels = [];
    this.before = {
      requests: this.aws.requests.length,
      commands: this.aws.commands.length,
      processor: childrenProcessor() ?? 0,
    };
  }

  /** A port that leads to `port` over the client's link: from the client to AWS's side, or the other way. */
  async tunnel(port: number, calledFromFar = false, profile?: LinkProfile | null): Promise<number> {
    // Between processes, what is undefined is null.
    const tunnel = await Tunnel.open(port, profile ?? this.network.client ?? {}, calledFromFar);
    this.tunnels.push(tunnel);
    return tunnel.port;
  }

  /** Runs what `contenders/remote-shell.py` asks for: a line of JSON with the program, then its standard input. */
  async remoteShell(): Promise<number> {
    const server = createTcpServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => void runFor(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as AddressInfo).port;
  }

  /** The network that is set. */
  async profile(): Promise<NetworkProfile> {
    return this.network;
  }

  /** A directory by HTTP, for reading. */
  async serve(directory: string): Promise<number> {
    const server = createServer((request, response) => {
      const file = join(directory, normalize(decodeURIComponent(request.url ?? '/')));
      const size = statSync(file, { throwIfNoEntry: false })?.size;
      if (size === undefined) return void response.writeHead(404).end();
      response.writeHead(200, { 'content-length': size });
      createReadStream(file).pipe(response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as AddressInfo).port;
  }

  async observe(): Promise<Observed> {
    const { aws, before } = this;
    const { client } = aws.traffic();
    const processor = childrenProcessor();
    for (const { link } of this.tunnels) {
      client.up += link.traffic.up;
      client.down += link.traffic.down;
    }
    return {
      client,
      requests: aws.requests.slice(before.requests),
      commands: aws.commands
        .slice(before.commands)
        .map(({ requested, started, ended }) => ({ requested, started, ended })),
      instanceProcessor: processor === undefined ? undefined : processor - before.processor,
    };
  }

  /** Waits until nothing runs on the instances any more: whatever was told to end ends. */
  async idle(): Promise<void> {
    const { named, instances } = this.aws;
    const running = () => [...named.values()].flatMap(({ id }) => instances.processes(id));
    for (const last = performance.now() + GRACE; running().length; await sleep(LOOK))
      if (performance.now() > last) throw new Error(`still running on the instances: ${running().join(', ')}`);
  }

  /** From now on that goes wrong. */
  async fail(fault: Fault): Promise<void> {
    this.aws.faults.add(fault);
  }

  async watchMemory(): Promise<void> {
    this.memory = 0;
    this.looking = setInterval(() => (this.memory = Math.max(this.memory, highest())), LOOK);
  }

  /** Looks at each process that runs on the instances, which delays what is measured meanwhile. */
  async watchProcesses(): Promise<void> {
    this.tree = new ProcessTree(process.pid);
  }

  async processes(): Promise<UsedBy[]> {
    return this.tree?.end() ?? [];
  }

  async peakMemory(): Promise<number> {
    clearInterval(this.looking);
    return this.memory;
  }

  async close(): Promise<void> {
    for (const tunnel of this.tunnels) tunnel.close();
    await this.aws.close();
  }
}

async function runFor(socket: Socket): Promise<void> {
  socket.setNoDelay();
  socket.on('error', () => socket.destroy());
  let head = Buffer.alloc(0);
  for await (const part of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    head = Buffer.concat([head, part]);
    if (head.includes(10)) break;
  }
  const end = head.indexOf(10);
  const [program, ...args] = JSON.parse(head.subarray(0, end).toString()) as string[];
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.on('error', () => socket.destroy());
  child.stdin.on('error', () => undefined);
  child.stdin.write(head.subarray(end + 1));
  socket.pipe(child.stdin);
  child.stdout.pipe(socket);
}

/** Of what this process has started, which is what runs on the instances. */
function childrenProcessor(): number | undefined {
  return process.platform === 'linux' ? processorTime(process.pid).children : undefined;
}

/** The high-water mark of the largest process of an instance, bytes; 0 where the system doesn't tell. */
function highest(): number {
  if (process.platform !== 'linux') return 0;
  return Math.max(
    0,
    ...readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map((pid) => {
        try {
          if (!readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`${MARK}=`)) return 0;
          return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0) * 1024;
        } catch {
          return 0;
        }
      }),
  );
}

if (require.main === module) {
  const opening = TestbedProcess.open(process.argv[2]);
  process.on('message', ({ id, method, args }: { id: number; method: keyof TestbedProcess; args: never[] }) => {
    opening
      .then((testbed) => (testbed[method] as (...args: never[]) => Promise<unknown>).apply(testbed, args))
      .then(
        (result) => process.send!({ id, result }),
        (error: Error) => process.send!({ id, error: error.stack }),
      );
  });
  // Ctrl+C is the benchmark's: this process goes when it does, and ends what its instances run.
  process.on('SIGINT', () => undefined);
  process.on('disconnect', () => void opening.then((testbed) => testbed.close()).then(() => process.exit(0)));
}
