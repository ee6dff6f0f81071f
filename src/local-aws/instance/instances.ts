import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Vpc } from '../catalog/network';
import { readKeptJson } from '../state/kept-json';
import { freeAddress } from './private-address';
import { endProcesses, MARK, processesOf } from './processes';
import {
  instanceRecord,
  type InstanceState,
  type InstanceTraits,
  type LocalInstance,
  type Settled,
  type StateReason,
} from './record';
import { installPrograms } from './programs';

export { MARK, type InstanceState, type LocalInstance };

export interface InstanceTimes {
  /** From a launch to the agent being online, ms; half of it the instance is pending. */
  boot?: number;
  /** How long an instance is stopping or shutting down, ms. */
  transition?: number;
  /** How long a new instance is not found yet, ms. */
  unseen?: number;
}

/**
 * How an agent gets its commands: `gateway` is the message gateway (ssmmessages), which sessions need, too; an agent
 * without a route to it asks for them by `ec2messages`.
 */
export type AgentChannel = 'gateway' | 'ec2messages';

/** What a change of an instance was: `launched` at first, `started` from a stop or a reboot. */
export type InstanceEvent = 'launched' | 'started' | 'stopped' | 'terminated';

/** Instances are records with a directory each, which is their disk, and processes of this machine. */
export class Instances {
  private readonly known = new Map<string, LocalInstance>();
  /** Told of each change, after it. */
  readonly watchers: ((instance: LocalInstance, event: InstanceEvent) => void)[] = [];
  /** Between running and its agent being online, ms: besides the boot. */
  agentDelay = 0;
  /** From a command's exit with 194 to the reboot that it asks for, ms: a minute on EC2. */
  rebootDelay = 0;
  /** What the agents of instances use for which `channels` has nothing else. */
  channel: AgentChannel = 'gateway';
  readonly channels = new Map<string, AgentChannel>();
  private readonly boot: number;
  private readonly transition: number;
  readonly unseen: number;

  constructor(
    private readonly directory: string,
    times: InstanceTimes,
    private readonly vpc: Vpc,
  ) {
    this.boot = times.boot ?? 0;
    this.transition = times.transition ?? 0;
    this.unseen = times.unseen ?? 0;
    mkdirSync(directory, { recursive: true });
    const file = join(directory, 'instances.json');
    for (const each of readKeptJson<LocalInstance[]>(file) ?? []) this.known.set(each.id, instanceRecord(each));
  }

  /** Where local AWS listens: what runs in an instance finds its metadata service below. */
  set url(url: string) {
    writeFileSync(join(this.directory, 'url'), url);
    for (const { id, state } of this.all()) if (state !== 'terminated') this.installPrograms(id);
  }

  get url(): string {
    return readFileSync(join(this.directory, 'url'), 'utf8');
  }

  all(): LocalInstance[] {
    return [...this.known.values()];
  }

  get(id: string): LocalInstance | undefined {
    return this.known.get(id);
  }

  /** Those that EC2 tells of: a new one only after a moment. */
  seen(): LocalInstance[] {
    return this.all().filter(({ launched }) => Date.now() >= launched + this.unseen);
  }

  /** Its state as EC2 tells it at this moment. */
  state({ state, launched, changed }: LocalInstance): InstanceState {
    if (state === 'running') return Date.now() < launched + this.boot / 2 ? 'pending' : state;
    if (Date.now() >= changed + this.transition) return state;
    return state === 'stopped' ? 'stopping' : 'shutting-down';
  }

  /** Whether its agent takes commands. */
  online(id: string): boolean {
    const instance = this.known.get(id);
    if (instance?.state !== 'running' || instance.profile === null) return false;
    return Date.now() >= instance.bootBegan + this.boot + this.agentDelay;
  }

  channelOf(id: string): AgentChannel {
    return this.channels.get(id) ?? this.channel;
  }

  /** Whether its agent takes sessions. */
  takesSessions(id: string): boolean {
    return this.online(id) && this.channelOf(id) === 'gateway';
  }

  /** When it runs, ms since the epoch. */
  booted({ bootBegan }: LocalInstance): number {
    return bootBegan + this.boot / 2;
  }

  launch({ booted, zone = this.vpc.zones[0].name, ...traits }: InstanceTraits & { booted?: boolean }): LocalInstance {
    const id = `i-${randomBytes(9).toString('hex').slice(0, 17)}`;
    const launched = Date.now() - (booted ? Math.max(this.boot, this.unseen) : 0);
    const instance = instanceRecord({ ...traits, id, launched, zone, privateIp: this.freeAddress(zone) });
    this.known.set(id, instance);
    mkdirSync(this.disk(id), { recursive: true });
    this.installPrograms(id);
    this.changed(instance, 'launched');
    return instance;
  }

  /** Changes the state; whatever leaves `running` ends the instance's processes, and `terminated` takes its disk. */
  change(instance: LocalInstance, state: Settled, reason?: StateReason): void {
    const before = instance.state;
    // First the state: what its processes leave is not reported by an agent that is gone.
    instance.state = state;
    instance.reason = reason;
    if (before === 'running') this.endProcesses(instance.id);
    instance.changed = Date.now();
    if (state === 'running' && before !== 'running') instance.launched = instance.bootBegan = Date.now();
    if (state === 'terminated') rmSync(this.disk(instance.id), { recursive: true, force: true });
    this.changed(instance, state === 'running' ? 'started' : state);
  }

  /** Its processes end, and it boots again. */
  reboot(instance: LocalInstance): void {
    this.endProcesses(instance.id);
    instance.bootBegan = Date.now();
    this.changed(instance, 'started');
  }

  tag(instance: LocalInstance, tags: Record<string, string>): void {
    Object.assign(instance.tags, tags);
    this.save();
  }

  disk(id: string): string {
    return join(this.directory, id);
  }

  /** What every process of the instance is started with, besides what its starter says. */
  environment(id: string): Record<string, string> {
    const root = join(this.disk(id), 'root');
    const bin = join(this.disk(id), 'bin');
    return {
      PATH: `${bin}:${process.env.PATH}`,
      // Its machine must not be shut down for it, also where a login shell sets another PATH.
      NX_EC2_LOCAL_BIN: bin,
      NX_EC2_ROOT: root,
      NX_EC2_DATA_ROOT: root,
      AWS_EC2_METADATA_SERVICE_ENDPOINT: this.metadataUrl(id),
      // A program of the instance that calls AWS reaches this server, with the role that the metadata service gives it.
      AWS_ENDPOINT_URL: this.url,
      AWS_REGION: this.vpc.region,
      AWS_DEFAULT_REGION: this.vpc.region,
      // Its machine does not boot with it.
      NX_EC2_LOCAL_BOOT: String(Math.round(this.booted(this.known.get(id)!))),
      [MARK]: id,
    };
  }

  /** Where an instance's metadata service answers: only its own processes know the secret in it. */
  metadataUrl(id: string): string {
    return `${this.url}/imds/${id}/${this.known.get(id)!.secret}`;
  }

  close(): void {
    for (const { id, state } of this.known.values()) if (state === 'running') this.endProcesses(id);
  }

  processes(id: string): number[] {
    return processesOf(id, this.disk(id));
  }

  endProcesses(id: string): void {
    endProcesses(id, this.disk(id));
  }

  save(): void {
    const file = join(this.directory, 'instances.json');
    writeFileSync(`${file}.tmp`, JSON.stringify(this.all(), null, 2), { mode: 0o600 });
    renameSync(`${file}.tmp`, file);
  }

  private changed(instance: LocalInstance, event: InstanceEvent): void {
    try {
      this.save();
    } finally {
      // It has changed, also where the disk is full.
      for (const watcher of this.watchers) watcher(instance, event);
    }
  }

  private freeAddress(name: string): string {
    const zone = this.vpc.zones.find((each) => each.name === name)!;
    const alive = this.all().filter(({ state }) => state !== 'terminated');
    return freeAddress(zone, new Set(alive.map(({ privateIp }) => privateIp)));
  }

  private installPrograms(id: string): void {
    installPrograms(this.disk(id), join(this.directory, 'url'), this.known.get(id)!);
  }
}
