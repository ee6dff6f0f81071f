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

/** The exit code that asks for a reboot, and how often one command may run so; after that the agent never answers. */
const REBOOT = 194;
const RUNS = 15;
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
    // The agent says so when it takes a command, not when a slot is free.
    invocation.status = invocation.details = 'InProgress';
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

  private run(invocation: Invocation, done: () => void, before = { stdout: '', stderr: '' }, runs = 1): void {
    const disk = this.instances.disk(invocation.instance);
    const home = join(disk, 'ssm', invocation.commandId);
    mkdirSync(home, { recursive: true });
    const script = join(home, '_script.sh');
    writeFileSync(script, `${invocation.script}\n`, { mode: 0o700 });
    invocation.started ??= Date.now();
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
    let left = false;
    // What left the process group may hold the streams: a command that was killed does not wait for it.
    const letGo = () => [child.stdout, child.stderr].forEach((stream) => stream.destroy());
    const kill = (why: 'timeout' | 'cancel') => {
      killed = why;
      try {
        process.kill(-child.pid!, 'SIGKILL');
      } catch {
        left = true;
        letGo();
      }
    };
    child.on('exit', () => killed && setImmediate(letGo));
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
        if (code === REBOOT && !killed && runs < RUNS)
          return this.reboot(invocation, done, { stdout: texts[0], stderr: texts[1] }, runs + 1);
        if (left && killed === 'timeout') report(invocation, 1, undefined, texts[0], texts[1], 'no such process');
        else if (code !== REBOOT || killed) report(invocation, signal ? 137 : (code ?? 1), killed, ...texts);
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
  private reboot(
    invocation: Invocation,
    done: () => void,
    before: { stdout: string; stderr: string },
    runs: number,
  ): void {
    this.instances.endProcesses(invocation.instance);
    setImmediate(() => this.run(invocation, done, before, runs));
  }
}

/** The exit table of AWS-RunShellScript. */
function report(
  invocation: Invocation,
  code: number,
  killed: 'timeout' | 'cancel' | undefined,
  stdout: string,
  stderr: string,
  why = `exit status ${code}`,
): void {
  if (goJsonSize({ stdout, stderr }) > REPLY_LIMIT) return;
  if (killed === 'cancel') return end(invocation, 'Cancelled', 'Cancelled', 137, stdout, stderr);
  if (killed === 'timeout' || code === 137)
    return end(invocation, 'TimedOut', 'Execution Timed Out', 137, stdout, stderr);
  if (code === 0) return end(invocation, 'Success', 'Success', code, stdout, stderr);
  const text = `\nStep exited with code ${code}.`;
  if (code === 168) return end(invocation, 'Success', 'Success', code, stdout + text, '');
  const failed = `${stderr}failed to run commands: ${why}`;
  if (code === 169) return end(invocation, 'Failed', 'Failed', code, stdout + text, failed + text);
  end(invocation, 'Failed', 'Failed', code, stdout, failed);
}

/** Bytes of the JSON that Go writes: it escapes `<`, `>` and `&`, in six bytes each. */
function goJsonSize(value: unknown): number {
  const json = JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, '\\u0000');
  return Buffer.byteLength(json);
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
    // The agent cuts what reaches the limit, not only what exceeds it.
    return this.size < OUTPUT_LIMIT
      ? String(Buffer.concat(this.parts))
      : truncated(Buffer.concat(this.parts), OUTPUT_LIMIT);
  }
}

function cut(data: Buffer, limit: number): string {
  return data.length <= limit ? data.toString('utf8') : truncated(data, limit);
}

function truncated(data: Buffer, limit: number): string {
  return data.toString('utf8', 0, limit - TRUNCATED.length) + TRUNCATED;
}
