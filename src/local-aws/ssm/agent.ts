import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Instances } from '../instance/instances';

/** What the agent reports of a command. Source: amazon-ssm-agent's own source. */
export interface Invocation {
  commandId: string;
  instance: string;
  comment: string;
  script: string;
  executionTimeout: number;
  status: 'Pending' | 'InProgress' | 'Success' | 'Failed' | 'TimedOut' | 'Cancelled' | 'Cancelling';
  details: string;
  code: number;
  stdout: string;
  stderr: string;
  requested: number;
  /** Seconds. */
  deliveryTimeout: number;
  started?: number;
  ended?: number;
}

/** The exit code that asks for a reboot. */
const REBOOT = 194;
const RUNNING = 5;
const BUFFERED = 5;
const OUTPUT_LIMIT = 24_000;
const API_STDERR = 8_000;
const TRUNCATED = '--output truncated--';
/** A larger reply is dropped, and the command never gets a final status. */
const REPLY_LIMIT = 120_000;

/** The SSM agent of all instances: runs scripts as processes, five at once and five waiting for each instance. */
export class Agent {
  private readonly queues = new Map<string, { running: number; waiting: Invocation[] }>();
  private readonly stops = new Map<Invocation, () => void>();

  constructor(
    private readonly instances: Instances,
    private readonly region: string,
  ) {}

  take(invocation: Invocation): void {
    const queue = this.queues.get(invocation.instance) ?? { running: 0, waiting: [] };
    this.queues.set(invocation.instance, queue);
    if (queue.running >= RUNNING && queue.waiting.length >= BUFFERED) {
      end(invocation, 'Failed', 'Failed', -1, '', 'ProcessorBufferFull');
      return;
    }
    queue.waiting.push(invocation);
    this.next(queue);
  }

  cancel(invocation: Invocation): void {
    const stop = this.stops.get(invocation);
    if (stop) {
      invocation.status = 'Cancelling';
      stop();
      return;
    }
    const queue = this.queues.get(invocation.instance);
    if (queue) queue.waiting = queue.waiting.filter((each) => each !== invocation);
    if (invocation.status === 'Pending') end(invocation, 'Cancelled', 'Cancelled', -1, '', '');
  }

  /** An instance that is gone says nothing more: its commands stay in progress until the delivery timeout. */
  expire(invocation: Invocation): void {
    if (invocation.ended || this.instances.online(invocation.instance)) return;
    const waited = Date.now() - invocation.requested;
    const seconds = invocation.deliveryTimeout + (invocation.status === 'Pending' ? 0 : invocation.executionTimeout);
    if (waited > seconds * 1000) end(invocation, 'TimedOut', 'Delivery Timed Out', -1, '', '');
  }

  private next(queue: { running: number; waiting: Invocation[] }): void {
    if (queue.running >= RUNNING || queue.waiting.length === 0) return;
    if (this.instances.get(queue.waiting[0].instance)?.state !== 'running') return;
    const invocation = queue.waiting.shift()!;
    queue.running++;
    this.run(invocation, () => {
      queue.running--;
      this.next(queue);
    });
  }

  private run(invocation: Invocation, done: () => void, before = { stdout: '', stderr: '' }): void {
    const disk = this.instances.disk(invocation.instance);
    const home = join(disk, 'ssm', invocation.commandId);
    mkdirSync(home, { recursive: true });
    const script = join(home, '_script.sh');
    writeFileSync(script, `${invocation.script}\n`, { mode: 0o700 });
    invocation.status = 'InProgress';
    invocation.started ??= Date.now();
    invocation.details = 'InProgress';
    // A session of its own stands in for the process group that the agent makes: killed as a whole all the same.
    const child = spawn('sh', ['-c', script], {
      cwd: '/usr/bin',
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...this.instances.environment(invocation.instance),
        ...(process.env.LANG ? { LANG: process.env.LANG } : {}),
        SSM_COMMAND_ID: invocation.commandId,
        AWS_SSM_INSTANCE_ID: invocation.instance,
        AWS_SSM_REGION_NAME: this.region,
        AWS_SSM_PLATFORM_NAME: process.platform,
        AWS_SSM_PLATFORM_VERSION: '0',
      },
    });
    const stdout = new Output();
    const stderr = new Output();
    child.stdout.on('data', (data: Buffer) => stdout.add(data));
    child.stderr.on('data', (data: Buffer) => stderr.add(data));
    let killed: 'timeout' | 'cancel' | undefined;
    const kill = (why: 'timeout' | 'cancel') => {
      killed = why;
      try {
        process.kill(-child.pid!, 'SIGKILL');
      } catch {
        // Only a child that left the group still holds the streams.
      }
    };
    const timer = setTimeout(() => kill('timeout'), invocation.executionTimeout * 1000);
    timer.unref();
    this.stops.set(invocation, () => kill('cancel'));
    // 'close', not 'exit': a background child that holds stdout keeps the command going.
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      this.stops.delete(invocation);
      // The agent of an instance that is gone reports nothing.
      if (this.instances.get(invocation.instance)?.state === 'running') {
        const texts = [before.stdout + stdout.text(), before.stderr + stderr.text()] as const;
        if (code === REBOOT && !killed) return this.reboot(invocation, done, { stdout: texts[0], stderr: texts[1] });
        report(invocation, signal ? 137 : (code ?? 1), killed, ...texts);
      }
      done();
    });
    child.on('error', (error) => {
      clearTimeout(timer);
      end(invocation, 'Failed', 'Failed', 1, '', `failed to run commands: ${error.message}`);
      done();
    });
  }

  /** Exit 194: the instance boots again, which ends all its processes, and the whole script runs once more. */
  private reboot(invocation: Invocation, done: () => void, before: { stdout: string; stderr: string }): void {
    this.instances.endProcesses(invocation.instance);
    setImmediate(() => this.run(invocation, done, before));
  }
}

/** The exit table of AWS-RunShellScript. */
function report(
  invocation: Invocation,
  code: number,
  killed: 'timeout' | 'cancel' | undefined,
  stdout: string,
  stderr: string,
): void {
  if (JSON.stringify({ stdout, stderr }).length > REPLY_LIMIT) return;
  if (killed === 'cancel') return end(invocation, 'Cancelled', 'Cancelled', 137, stdout, stderr);
  if (killed === 'timeout' || code === 137)
    return end(invocation, 'TimedOut', 'Execution Timed Out', 137, stdout, stderr);
  if (code === 0) return end(invocation, 'Success', 'Success', code, stdout, stderr);
  if (code === 168) return end(invocation, 'Success', 'Success', code, `${stdout}\nStep exited with code 168.`, stderr);
  if (code === 169) return end(invocation, 'Failed', 'Failed', code, `${stdout}\nStep exited with code 169.`, stderr);
  end(invocation, 'Failed', 'Failed', code, stdout, `${stderr}failed to run commands: exit status ${code}`);
}

function end(
  invocation: Invocation,
  status: Invocation['status'],
  details: string,
  code: number,
  stdout: string,
  stderr: string,
): void {
  Object.assign(invocation, {
    status,
    details,
    code,
    stdout,
    stderr: cut(Buffer.from(stderr), API_STDERR),
    ended: Date.now(),
  });
}

class Output {
  private readonly parts: Buffer[] = [];
  private size = 0;

  add(data: Buffer): void {
    if (this.size <= OUTPUT_LIMIT) this.parts.push(data);
    this.size += data.length;
  }

  text(): string {
    return cut(Buffer.concat(this.parts), OUTPUT_LIMIT);
  }
}

function cut(data: Buffer, limit: number): string {
  if (data.length <= limit) return data.toString('utf8');
  return data.toString('utf8', 0, limit - TRUNCATED.length) + TRUNCATED;
}
