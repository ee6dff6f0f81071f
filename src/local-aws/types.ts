import type { AgentChannel, Instances, InstanceTimes, LocalInstance } from './instance/instances';
import type { IdentityOptions } from './protocol/identity';
import type { Fault, Faults } from './link/faults';
import type { NetworkProfile, LinkName, LinkTraffic } from './link/network';
import type { SessionOptions } from './session/sessions';
import type { InstanceRole } from './instance/role';
import type { Capacity, Shortage } from './ec2/launch/capacity';
import type { PlannedInterruption } from './ec2/spot/interruptions';
import type { InstanceProfiles } from './ec2/instances/profiles';
import type { Quotas } from './servicequotas/service';
import type { Left } from './ec2/service';
import type { Calls } from './calls';
import type { Invocation } from './ssm/invocation';

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
  /** Limits of what EC2 can launch. */
  capacity?: Shortage[];
  /** Spot instances that EC2 takes back. */
  interruptions?: PlannedInterruption[];
  network?: NetworkProfile;
  /** How the agents of instances get their commands; absent: by the message gateway. */
  agentChannel?: AgentChannel;
  sessions?: SessionOptions;
  /** How long a key that EC2 Instance Connect has pushed is accepted, ms. Default: a minute. */
  sshKeyLifetime?: number;
  /** Keeps each request and each call to be looked at, for as long as it runs. Default: none is kept. */
  history?: boolean;
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
  /** ARNs of KMS keys that are disabled. */
  disabledKeys: Set<string>;
  /** Takes a spot instance back. @param noticeMs from the notice to its end; absent: two minutes. */
  interrupt(instance: string, options?: { noticeMs?: number }): void;
  /** Tells a spot instance that it is at risk. */
  recommendRebalance(instance: string): void;
  /** What is still there of all that was made. */
  left(): Left;
  /** With the option `history`. */
  requests: AnsweredRequest[];
  /** The same as IAM sees them, to be looked at and cleared; with the option `history`. */
  calls: Calls;
  /** Each command, with when it was sent, started and ended. */
  commands: readonly Invocation[];
  /** What went over each link so far. */
  traffic(): Record<LinkName, LinkTraffic>;
  /** Changes the network's profile, and resets what was counted on its links. */
  useNetwork(profile: NetworkProfile): void;
  /** From now on an instance's agent, or those of all, get their commands so. */
  useAgentChannel(channel: AgentChannel, instance?: string): void;
  /** Restarts an instance's agent: its sessions end, its commands continue. */
  restartAgent(instance: string): void;
  /** Takes notice of what another hand changed in the directory of its buckets. */
  reread(): void;
  close(): Promise<void>;
}
