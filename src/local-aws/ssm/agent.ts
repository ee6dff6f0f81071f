import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import type { Instances } from '../instance/instances';
import { end, endByExit, type Exit, type Invocation } from './invocation';
import { goJsonSize } from './output';
import { Script } from './script';

/** The exit code that asks for a reboot, and how often one command may run so; after that the agent never answers. */
const REBOOT_EXIT_CODE = 194;
const MAX_REBOOTS = 15;
const MAX_RUNNING_COMMANDS = 5;
const MAX_BUFFERED_COMMANDS = 5;
/** Over the message gateway a larger reply is dropped, and the command never gets a final status. */
const MAX_REPLY_BYTES = 120_000;
/** Where a command runs that names no absolute working directory. */
const DIRECTORY = '/usr/bin';
interface Queue {
  running: number;
  waiting: Invocation[];
  /** Over ec2messages: fetched, and not taken yet. */
  held: Invocation[];
}

/** The SSM agent of all instances: runs scripts as processes, five at once and five waiting for each instance. */
export class Agent {
  private readonly queues = new Map<string, Queue>();
  private readonly reboots = new Set<NodeJS.Timeout>();
  private readonly stops = new Map<Invocation, () => void>();

  /** @param resolve puts the values of parameters into an invocation; false where that fails the whole document. */
  constructor(
    private readonly instances: Instances,
    private readonly region: string,
    private readonly resolve: (invocation: Invocation) => boolean,
  ) {}

  /**
   * A command arrives. One that finds no room is refused over the gateway: the service is told a code that it writes
   * into no invocation. Over ec2messages the agent holds it, and all that come later, until there is room.
   */
  take(invocation: Invocation): void {
    const queue = this.queues.get(invocation.instance) ?? { running: 0, waiting: [], held: [] };
    this.queues.set(invocation.instance, queue);
    if (!this.resolve(invocation)) return end(invocation, 'Failed', 'Failed');
    if (this.instances.channelOf(invocation.instance) === 'ec2messages') queue.held.push(invocation);
    else if (hasRoom(queue)) accept(queue, invocation);
    else invocation.refused = true;
    this.next(queue);
  }

  cancel(invocation: Invocation): void {
    const stop = this.stops.get(invocation);
    if (stop) {
      invocation.status = 'Cancelling';
      stop();
      return;
    }
    // One that waits for a slot never runs, and is never answered.
    const queue = this.queues.get(invocation.instance);
    if (queue) {
      queue.waiting = queue.waiting.filter((each) => each !== invocation);
      queue.held = queue.held.filter((each) => each !== invocation);
    }
    if (invocation.status === 'Pending') end(invocation, 'Cancelled', 'Cancelled');
  }

  /**
   * Ends what was not delivered in time. An instance that is gone says nothing more: its commands stay in progress
   * until then, too.
   */
  expire(invocation: Invocation): void {
    const pending = invocation.status === 'Pending';
    if (!pending && this.instances.online(invocation.instance)) return;
    const waited = Date.now() - invocation.requested;
    const seconds = invocation.deliveryTimeout + (pending ? 0 : invocation.executionTimeout);
    if (waited > seconds * 1000) end(invocation, 'TimedOut', 'Delivery Timed Out');
  }

  /** Nothing more is started. */
  close(): void {
    for (const queue of this.queues.values()) queue.waiting = queue.held = [];
    for (const timer of this.reboots) clearTimeout(timer);
  }

  private next(queue: Queue): void {
    while (queue.held.length && hasRoom(queue)) accept(queue, queue.held.shift()!);
    if (queue.running >= MAX_RUNNING_COMMANDS || queue.waiting.length === 0) return;
    if (this.instances.get(queue.waiting[0].instance)?.state !== 'running') return;
    const invocation = queue.waiting.shift()!;
    queue.running++;
    this.run(invocation, () => {
      queue.running--;
      this.next(queue);
    });
    this.next(queue);
  }

  private run(invocation: Invocation, done: () => void, before = { stdout: '', stderr: '' }, runs = 1): void {
    const { instance, commandId, workingDirectory } = invocation;
    const file = join(this.instances.disk(instance), 'ssm', commandId, '_script.sh');
    invocation.started ??= Date.now();
    try {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, `${invocation.script}\n`, { mode: 0o700 });
    } catch (error) {
      const why = `failed to write the script: ${(error as Error).message}`;
      setImmediate(() => {
        this.reply(invocation, { ...before, code: 1, why });
        done();
      });
      return;
    }
    const options = {
      cwd: isAbsolute(workingDirectory) ? workingDirectory : DIRECTORY,
      timeout: invocation.executionTimeout,
      env: {
        ...this.instances.environment(instance),
        ...(process.env.LANG ? { LANG: process.env.LANG } : {}),
        SSM_COMMAND_ID: commandId,
        AWS_SSM_INSTANCE_ID: instance,
        AWS_SSM_REGION_NAME: this.region,
        AWS_SSM_PLATFORM_NAME: process.platform,
        AWS_SSM_PLATFORM_VERSION: '0',
      },
    };
    const script = new Script(file, options, (exit) => {
      this.stops.delete(invocation);
      const texts = { stdout: before.stdout + exit.stdout, stderr: before.stderr + exit.stderr };
      // The agent of an instance that is gone reports nothing.
      if (this.instances.get(instance)?.state !== 'running') return done();
      if (exit.code !== REBOOT_EXIT_CODE || exit.killed) this.reply(invocation, { ...exit, ...texts });
      else if (runs < MAX_REBOOTS) return this.reboot(invocation, done, texts, runs + 1);
      done();
    });
    this.stops.set(invocation, () => script.kill('cancel'));
  }

  private reply(invocation: Invocation, exit: Exit): void {
    const { stdout, stderr } = exit;
    const overGateway = this.instances.channelOf(invocation.instance) === 'gateway';
    if (overGateway && goJsonSize({ stdout, stderr }) > MAX_REPLY_BYTES) return;
    endByExit(invocation, exit);
  }

  /** Exit 194: the instance boots again, which ends all its processes, and the whole script runs once more. */
  private reboot(
    invocation: Invocation,
    done: () => void,
    before: { stdout: string; stderr: string },
    runs: number,
  ): void {
    const timer = setTimeout(() => {
      this.reboots.delete(timer);
      this.instances.endProcesses(invocation.instance);
      // The instance may be gone by now.
      if (this.instances.get(invocation.instance)?.state === 'running') this.run(invocation, done, before, runs);
      else done();
    }, this.instances.rebootDelay);
    this.reboots.add(timer);
  }
}

function hasRoom({ running, waiting }: Queue): boolean {
  return running < MAX_RUNNING_COMMANDS || waiting.length < MAX_BUFFERED_COMMANDS;
}

function accept(queue: Queue, invocation: Invocation): void {
  // The agent says so when it takes a command, not when a slot is free. What the service gave up runs all the same.
  if (invocation.ended === undefined) invocation.status = invocation.details = 'InProgress';
  queue.waiting.push(invocation);
}
