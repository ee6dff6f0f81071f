import { randomBytes } from 'node:crypto';
import { chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Identity } from '../protocol/identity';
import type { Instances } from '../instance/instances';
import { sessionDocument } from './document';
import { LocalSession } from './session';
import type { SessionUser } from './user';
import { AwsError } from '../protocol/aws-error';

type Json = Record<string, unknown>;

export interface SessionOptions {
  /** ms without a client's input after which a session ends; absent: 20 minutes. */
  idle?: number;
  /**
   * The agent is told at once when its client is gone, and then reads no more of separate streams, even when the client
   * is there again: what runs meets a broken pipe. Absent: a cut is over before the agent learns of it.
   */
  pauseEndsOutput?: boolean;
  /** As whom sessions run; absent: as ssm-user where local AWS runs as root and this machine has such a user. */
  user?: string;
  /** What the agent calls itself; absent: 3.3.0.0. One until 3.0.196.0 carries one connection in a port session. */
  agentVersion?: string;
  /** Sessions are to be encrypted by this key, as an account's preferences may want it. */
  kmsKeyId?: string;
}

/** What sessions need of the agents that run them. */
export interface SessionAgent {
  instances: Instances;
  options: SessionOptions;
  user?: SessionUser;
  pickUp: () => number;
  /** Puts the values of Parameter Store in place of their references; null where the agent refuses the document. */
  resolve: (instance: string, parameters: Record<string, string[]>) => Record<string, string[]> | null;
}

const AGENT_VERSION = '3.3.0.0';
const IDLE_TIMEOUT_MS = 20 * 60_000;
/** Who asks for the history gets that much. */
const MAX_HISTORY_SESSIONS = 200;

/** Session Manager: sessions of all instances. */
export class Sessions {
  private readonly known = new Map<string, LocalSession>();
  /** Where the streams are: `ws://127.0.0.1:<port>`. */
  url = '';
  readonly actions: Record<string, (input: Json, identity: Identity) => Json> = {
    StartSession: (input, identity) => this.start(input, identity),
    ResumeSession: (input) => this.resume(input),
    TerminateSession: (input) => this.terminate(input),
    DescribeSessions: (input) => this.describe(input),
  };

  private readonly instances: Instances;
  private readonly options: SessionOptions;

  constructor(private readonly agent: SessionAgent) {
    this.instances = agent.instances;
    this.options = agent.options;
  }

  get(id: string): LocalSession | undefined {
    return this.known.get(id);
  }

  /** Restarts the agent of an instance: its sessions' workers end, and their clients are told so. */
  restartAgent(instance: string): void {
    for (const session of this.active()) if (session.instance === instance) session.end('The agent was restarted.');
  }

  close(): void {
    for (const session of this.active()) session.end();
  }

  private active(): LocalSession[] {
    return [...this.known.values()].filter(({ ended }) => ended === undefined);
  }

  private start(input: Json, identity: Identity): Json {
    const instance = String(input.Target ?? '');
    if (!this.instances.takesSessions(instance))
      throw new AwsError('TargetNotConnected', `${instance} is not connected.`);
    const name = String(input.DocumentName ?? 'SSM-SessionManagerRunShell');
    const parameters = (input.Parameters ?? {}) as Record<string, string[]>;
    // The service checks the parameters as they are, the agent replaces what they refer to.
    const asked = sessionDocument(name, parameters);
    const resolved = this.agent.resolve(instance, parameters);
    const document = resolved ? sessionDocument(name, resolved) : asked;
    const { user } = this.agent;
    const owner = identity.arn;
    const id = `${owner
      .split('/')
      .pop()!
      .replace(/[^\w.-]/g, '-')}-${randomBytes(9).toString('hex').slice(0, 17)}`;
    const home = join(this.instances.disk(instance), 'home');
    mkdirSync(home, { recursive: true });
    if (user) chownSync(home, user.uid, user.gid);
    const session = new LocalSession(
      { id, instance, owner, documentName: name, reason: String(input.Reason ?? ''), document },
      {
        user,
        dropped: resolved === null,
        idle: this.options.idle ?? IDLE_TIMEOUT_MS,
        kmsKeyId: this.options.kmsKeyId,
        pauseEndsOutput: this.options.pauseEndsOutput ?? false,
        pickUp: this.agent.pickUp(),
        address: this.instances.get(instance)!.privateIp,
        agentVersion: this.options.agentVersion ?? AGENT_VERSION,
        there: () => this.instances.get(instance)?.state === 'running',
        environment: {
          ...this.instances.environment(instance),
          TERM: 'xterm-256color',
          LANG: process.env.LANG ?? 'C.UTF-8',
          HOME: home,
        },
      },
      () => this.forget(),
    );
    this.known.set(id, session);
    return this.stream(session);
  }

  private resume(input: Json): Json {
    return this.stream(this.alive(input));
  }

  private terminate(input: Json): Json {
    this.known.get(String(input.SessionId))?.end();
    return { SessionId: input.SessionId };
  }

  private describe(input: Json): Json {
    const active = input.State === 'Active';
    if (!active && input.State !== 'History')
      throw new AwsError('ValidationException', "Value at 'state' failed to satisfy constraint: [Active, History]");
    const filters = (input.Filters ?? []) as { key: string; value: string }[];
    const field = (session: LocalSession, key: string) =>
      ({ Target: session.instance, Owner: session.owner, SessionId: session.id })[key];
    const time = (ms: number | undefined) => (ms === undefined ? undefined : ms / 1000);
    const sessions = [...this.known.values()]
      .filter(({ ended }) => (ended === undefined) === active)
      .filter((session) => filters.every(({ key, value }) => field(session, key) === value))
      .map((session) => ({
        SessionId: session.id,
        Target: session.instance,
        Status: active ? 'Connected' : 'Terminated',
        StartDate: time(session.started),
        EndDate: time(session.ended),
        DocumentName: session.documentName,
        Owner: session.owner,
        Reason: session.reason,
      }));
    return { Sessions: sessions };
  }

  private alive(input: Json): LocalSession {
    const session = this.known.get(String(input.SessionId));
    if (!session || session.ended !== undefined)
      throw new AwsError('DoesNotExistException', `Session ${String(input.SessionId)} does not exist.`);
    return session;
  }

  private stream(session: LocalSession): Json {
    session.token = randomBytes(96).toString('base64');
    return {
      SessionId: session.id,
      TokenValue: session.token,
      StreamUrl: `${this.url}/v1/data-channel/${session.id}?role=publish_subscribe`,
    };
  }

  private forget(): void {
    const ended = [...this.known.values()].filter(({ ended: at }) => at !== undefined);
    for (const { id } of ended.slice(0, -MAX_HISTORY_SESSIONS)) this.known.delete(id);
  }
}
