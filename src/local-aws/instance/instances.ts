import { randomBytes, randomInt } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Alarms } from './alarms';
import { killProcesses, processesOf, signalProcesses } from './processes';
import { TIMING, type Timing } from './timing';

export { MARK } from './processes';

export type InstanceState = 'pending' | 'running' | 'shutting-down' | 'terminated' | 'stopping' | 'stopped';

export interface LocalInstance {
  id: string;
  reservation: string;
  /** Its place in the reservation, from 0. */
  index: number;
  state: InstanceState;
  type: string;
  image: string;
  tags: Record<string, string>;
  zone: string;
  address: string;
  /** ms since the epoch. */
  launched: number;
  clientToken?: string;
  /** What was asked for under the client token. */
  request?: string;
  profile?: string;
  keyName?: string;
  /** What the instance's own shutdown does. */
  shutdownBehavior: 'stop' | 'terminate';
  /** Why it is not running: EC2's StateTransitionReason. */
  reason: string;
  /** SSM reached it at least once. */
  registered: boolean;
  /** Its agent was stopped, by a fault. */
  agentStopped: boolean;
}

export interface LaunchOptions {
  type?: string;
  image?: string;
  tags?: Record<string, string>;
  zone?: string;
  reservation?: string;
  index?: number;
  clientToken?: string;
  request?: string;
  profile?: string;
  keyName?: string;
  shutdownBehavior?: 'stop' | 'terminate';
  /** Goes through `pending`, and SSM reaches it later still. Otherwise it is there, running and online. */
  booting?: boolean;
}

/** Why an instance's processes ended. A reboot keeps it running; a crash is what nobody asked for. */
export type DownReason = 'reboot' | 'stop' | 'terminate' | 'agent';

interface Listener {
  /** SSM reaches the instance. */
  online?(instance: LocalInstance): void;
  /** SSM does not reach it any more. */
  down?(instance: LocalInstance, reason: DownReason): void;
  close?(): void;
}

const TERMINATED_IS_KEPT = 3_600_000;

/**
 * Instances are records with a directory each, which is their disk, and processes of this machine. The disk outlives
 * a stop and a reboot, and goes at termination. The end of local AWS is a power cut for all instances: their processes
 * are killed, and its next start counts as their reboot.
 */
export class Instances {
  readonly timing: Timing;
  private readonly known = new Map<string, LocalInstance>();
  private readonly connected = new Set<string>();
  private readonly listeners = new Set<Listener>();
  /** What is under way for an instance; a newer wish calls it off. */
  private readonly underWay = new Map<string, () => void>();
  private readonly alarms = new Alarms();
  private closed = false;

  /** @param directory holds `instances.json` and the disks; made if missing. */
  constructor(
    readonly directory: string,
    timing: Partial<Timing> = {},
  ) {
    this.timing = { ...TIMING, ...timing };
    mkdirSync(directory, { recursive: true });
    const file = join(directory, 'instances.json');
    if (!existsSync(file)) return;
    for (const each of JSON.parse(readFileSync(file, 'utf8')) as LocalInstance[]) {
      // What a killed local AWS left running.
      if (each.state !== 'terminated' && each.state !== 'stopped') killProcesses(each.id);
      if (each.state === 'stopping') each.state = 'stopped';
      if (each.state === 'shutting-down') each.state = 'terminated';
      if (each.state === 'terminated') rmSync(this.disk(each.id), { recursive: true, force: true });
      if (each.state === 'pending') each.state = 'running';
      this.known.set(each.id, each);
      if (each.state === 'running') this.connect(each);
    }
    this.save();
  }

  /** All that EC2 still tells of: a terminated one for an hour. */
  all(): LocalInstance[] {
    return [...this.known.values()];
  }

  get(id: string): LocalInstance | undefined {
    return this.known.get(id);
  }

  /** Whether SSM reaches the instance now. */
  isOnline(id: string): boolean {
    return this.connected.has(id);
  }

  /** What DescribeInstanceInformation says; undefined for what it does not list. */
  ping(instance: LocalInstance): 'Online' | 'ConnectionLost' | undefined {
    if (!instance.registered || instance.state === 'terminated') return undefined;
    return this.connected.has(instance.id) ? 'Online' : 'ConnectionLost';
  }

  listen(listener: Listener): void {
    this.listeners.add(listener);
  }

  launch(of: LaunchOptions): LocalInstance {
    this.forget();
    const instance: LocalInstance = {
      id: `i-0${randomBytes(8).toString('hex')}`,
      reservation: of.reservation ?? `r-0${randomBytes(8).toString('hex')}`,
      index: of.index ?? 0,
      state: of.booting ? 'pending' : 'running',
      type: of.type ?? 't3.micro',
      image: of.image ?? 'ami-00000000000000000',
      tags: { ...of.tags },
      zone: of.zone ?? '',
      address: `10.0.${randomInt(256)}.${randomInt(4, 255)}`,
      launched: Date.now(),
      clientToken: of.clientToken,
      request: of.request,
      profile: of.profile,
      keyName: of.keyName,
      shutdownBehavior: of.shutdownBehavior ?? 'stop',
      reason: '',
      registered: false,
      agentStopped: false,
    };
    this.known.set(instance.id, instance);
    mkdirSync(this.disk(instance.id), { recursive: true });
    if (of.booting) this.boot(instance);
    else this.connect(instance);
    this.save();
    return instance;
  }

  /** Of a stopped instance: `pending`, then `running`, then online. */
  start(instance: LocalInstance): void {
    if (instance.state !== 'stopped') return;
    instance.launched = Date.now();
    instance.reason = '';
    this.boot(instance);
  }

  /** `stopping` until its processes have ended, then `stopped`; the disk stays. */
  stop(instance: LocalInstance, options: { force?: boolean } = {}): void {
    if (instance.state === 'stopped' || instance.state === 'stopping') return;
    this.enter(instance, 'stopping', `User initiated (${gmt()})`);
    this.disconnect(instance, 'stop');
    this.shutDown(instance, options.force === true, () => this.enter(instance, 'stopped'));
  }

  /** `shutting-down` until its processes have ended, then `terminated`; the disk goes. */
  terminate(instance: LocalInstance, options: { force?: boolean; reason?: string } = {}): void {
    if (instance.state === 'terminated' || instance.state === 'shutting-down') return;
    this.enter(instance, 'shutting-down', options.reason ?? `User initiated (${gmt()})`);
    this.disconnect(instance, 'terminate');
    this.shutDown(instance, options.force === true, () => {
      rmSync(this.disk(instance.id), { recursive: true, force: true });
      instance.registered = false;
      this.enter(instance, 'terminated');
    });
  }

  /** Ends the processes, keeps the disk and the state `running`, and comes back online. */
  reboot(instance: LocalInstance): void {
    if (instance.state !== 'running') return;
    this.disconnect(instance, 'reboot');
    this.shutDown(instance, false, () => this.later(instance, this.timing.online, () => this.connect(instance)));
  }

  /** A fault: the host is gone at once, with all processes and the disk. */
  kill(instance: LocalInstance): void {
    this.terminate(instance, { force: true, reason: 'Server.InternalError' });
  }

  /** A fault: the agent stops. What it had started goes on, its commands are neither delivered nor reported. */
  stopAgent(instance: LocalInstance): void {
    instance.agentStopped = true;
    this.disconnect(instance, 'agent');
    this.save();
  }

  /** The agent is back: what was held back is delivered and reported. */
  startAgent(instance: LocalInstance): void {
    instance.agentStopped = false;
    if (instance.state === 'running' && !this.underWay.has(instance.id)) this.connect(instance);
    this.save();
  }

  tag(instance: LocalInstance, tags: Record<string, string>): void {
    Object.assign(instance.tags, tags);
    this.save();
  }

  /** Removes a tag; where a value is given, only if it has that value. */
  untag(instance: LocalInstance, key: string, value?: string): void {
    if (value !== undefined && instance.tags[key] !== value) return;
    delete instance.tags[key];
    this.save();
  }

  /** The instance's disk: `root/` is the nx-ec2 root, `ssm/` the agent's. */
  disk(id: string): string {
    return join(this.directory, id);
  }

  /** A power cut: every process of every instance is killed at once, nothing is reported any more. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.alarms.clear();
    for (const listener of this.listeners) listener.close?.();
    this.connected.clear();
    for (const { id, state } of this.known.values()) if (state !== 'terminated' && state !== 'stopped') killProcesses(id);
  }

  private boot(instance: LocalInstance): void {
    this.enter(instance, 'pending');
    this.later(instance, this.timing.boot, () => {
      this.enter(instance, 'running');
      this.later(instance, this.timing.online, () => this.connect(instance));
    });
  }

  private connect(instance: LocalInstance): void {
    if (instance.agentStopped) return;
    if (!instance.registered) {
      instance.registered = true;
      this.save();
    }
    this.connected.add(instance.id);
    for (const listener of this.listeners) listener.online?.(instance);
  }

  private disconnect(instance: LocalInstance, reason: DownReason): void {
    this.connected.delete(instance.id);
    for (const listener of this.listeners) listener.down?.(instance, reason);
  }

  /** As the system's own shutdown does: SIGTERM, a while, SIGKILL. */
  private shutDown(instance: LocalInstance, force: boolean, then: () => void): void {
    const deadline = Date.now() + (force ? 0 : this.timing.shutdown);
    if (!force) signalProcesses(instance.id, 'SIGTERM');
    const look = () => {
      if (Date.now() < deadline && processesOf(instance.id).length > 0) return this.later(instance, 25, look);
      killProcesses(instance.id);
      then();
    };
    this.later(instance, 0, look);
  }

  private later(instance: LocalInstance, ms: number, act: () => void): void {
    this.underWay.get(instance.id)?.();
    const callOff = this.alarms.after(ms, () => {
      this.underWay.delete(instance.id);
      act();
    });
    this.underWay.set(instance.id, callOff);
  }

  private enter(instance: LocalInstance, state: InstanceState, reason = instance.reason): void {
    instance.state = state;
    instance.reason = reason;
    this.save();
  }

  private forget(): void {
    const before = Date.now() - TERMINATED_IS_KEPT;
    for (const { id, state, launched } of this.known.values())
      if (state === 'terminated' && launched < before) this.known.delete(id);
  }

  private save(): void {
    if (this.closed) return;
    const file = join(this.directory, 'instances.json');
    writeFileSync(`${file}.tmp`, JSON.stringify(this.all(), null, 2));
    renameSync(`${file}.tmp`, file);
  }
}

function gmt(): string {
  return `${new Date().toISOString().slice(0, 19).replace('T', ' ')} GMT`;
}
