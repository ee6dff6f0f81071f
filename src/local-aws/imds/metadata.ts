import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { ACCOUNT } from '../protocol/identity';
import { instanceType } from '../catalog/instance-types';
import type { Instances, LocalInstance } from '../instance/instances';
import type { Power } from '../instance/power';
import type { InstanceRole } from '../instance/role';

const MAX_TOKEN_SECONDS = 21_600;
/** Where an instance asks which keys EC2 Instance Connect has pushed for a user. */
const ACTIVE_KEYS = /^meta-data\/managed-ssh-keys\/active-keys\/([^/]+)\/?$/;

/** What an instance's metadata are read from. */
export interface MetadataSource {
  instances: Instances;
  region: string;
  role: (instance: string) => InstanceRole;
  power: Power;
  /** Undefined where none was pushed. */
  sshKeys: (instance: string, user: string) => string[] | undefined;
}

/**
 * The metadata services of all instances (IMDSv2, and version 1 where an instance may), each below `/imds/<instance id>/<secret>`: on a real
 * instance it is the machine's own, and nothing of it goes over a network; here the secret keeps it to the instance's processes.
 */
export class Metadata {
  /** Until when a token holds, ms since the epoch; each is of one instance. */
  private readonly tokens = new Map<string, { instance: string; until: number }>();

  constructor(private readonly source: MetadataSource) {}

  answer(request: IncomingMessage, response: ServerResponse): void {
    request.resume();
    const [, id, secret, service, path] =
      /^\/imds\/([^/]+)\/([^/]+)\/(latest|local)\/(.*)$/.exec(request.url ?? '') ?? [];
    const instance = this.source.instances.get(id);
    const { status, body } =
      instance?.state !== 'running' || !isSecretOf(instance, secret)
        ? { status: 404, body: '' }
        : service === 'local'
          ? { status: this.ask(request, instance, path), body: '' }
          : this.act(request, instance, path);
    response.writeHead(status, { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(body) });
    response.end(body);
  }

  /** Not of IMDS: how the instance's own `shutdown` reaches what runs it, `<action>?seconds=<n>`. */
  private ask({ method }: IncomingMessage, instance: LocalInstance, path: string): number {
    if (method !== 'POST') return 405;
    const [action, query] = path.split('?');
    const seconds = Number(new URLSearchParams(query).get('seconds'));
    return this.source.power.ask(instance, action, seconds);
  }

  private act({ method, headers }: IncomingMessage, instance: LocalInstance, path: string) {
    if (path === 'api/token') {
      const seconds = Number(headers['x-aws-ec2-metadata-token-ttl-seconds']);
      if (method !== 'PUT') return { status: 405, body: '' };
      // IMDS refuses what came through a proxy.
      if (headers['x-forwarded-for'] !== undefined) return { status: 403, body: '' };
      if (!(seconds >= 1 && seconds <= MAX_TOKEN_SECONDS)) return { status: 400, body: '' };
      const token = randomBytes(40).toString('base64');
      this.tokens.set(token, { instance: instance.id, until: Date.now() + seconds * 1000 });
      return { status: 200, body: token };
    }
    const given = headers['x-aws-ec2-metadata-token'];
    const token = this.tokens.get(String(given));
    const byVersion1 = given === undefined && instance.httpTokens === 'optional';
    if (!byVersion1 && (token?.instance !== instance.id || token.until < Date.now())) return { status: 401, body: '' };
    if (method !== 'GET') return { status: 405, body: '' };
    const body = this.value(instance, path);
    return body === undefined ? { status: 404, body: '' } : { status: 200, body };
  }

  private value(instance: LocalInstance, path: string): string | Buffer | undefined {
    const { id, type, image, index, launched, zone, interruption, rebalance, userData } = instance;
    const role = this.source.role(id);
    switch (path) {
      case 'meta-data/instance-id':
        return id;
      case 'meta-data/instance-type':
        return type;
      case 'meta-data/ami-id':
        return image;
      case 'meta-data/ami-launch-index':
        return String(index);
      case 'meta-data/reservation-id':
        return instance.reservation;
      case 'meta-data/instance-life-cycle':
        return instance.spotRequest === undefined ? 'on-demand' : 'spot';
      case 'meta-data/local-ipv4':
        return instance.privateIp;
      case 'meta-data/public-ipv4':
        return instance.publicIp;
      case 'meta-data/placement/availability-zone':
        return zone;
      case 'meta-data/placement/region':
        return this.source.region;
      case 'meta-data/iam/security-credentials/':
        return role.name ?? undefined;
      case `meta-data/iam/security-credentials/${role.name}`:
        return role.name === null ? undefined : credentials(role);
      case 'meta-data/spot/instance-action':
        return interruption === undefined
          ? undefined
          : JSON.stringify({ action: 'terminate', time: timestamp(interruption) });
      case 'meta-data/spot/termination-time':
        return interruption === undefined ? undefined : timestamp(interruption);
      case 'meta-data/events/recommendations/rebalance':
        return rebalance === undefined ? undefined : JSON.stringify({ noticeTime: timestamp(rebalance) });
      case 'user-data':
        return userData === undefined ? undefined : Buffer.from(userData, 'base64');
      case 'dynamic/instance-identity/document':
        return JSON.stringify({
          accountId: ACCOUNT,
          architecture: instanceType(type)?.architecture ?? 'x86_64',
          availabilityZone: zone,
          imageId: image,
          instanceId: id,
          instanceType: type,
          pendingTime: new Date(launched).toISOString(),
          region: this.source.region,
          version: '2017-09-30',
        });
      default:
        return this.activeKeys(id, path);
    }
  }

  /** Without the signatures that are between the keys on a real instance. */
  private activeKeys(id: string, path: string): string | undefined {
    const user = ACTIVE_KEYS.exec(path)?.[1];
    return (
      user &&
      this.source
        .sshKeys(id, user)
        ?.map((key) => `${key}\n`)
        .join('')
    );
  }
}

function isSecretOf(instance: LocalInstance, given: string): boolean {
  const [own, said] = [instance.secret, given].map((text) => Buffer.from(text));
  return own.length === said.length && timingSafeEqual(own, said);
}

function credentials(role: InstanceRole): string {
  const { accessKeyId, secretAccessKey, session } = role.credentials();
  return JSON.stringify({
    Code: 'Success',
    LastUpdated: timestamp(Date.now()),
    Type: 'AWS-HMAC',
    AccessKeyId: accessKeyId,
    SecretAccessKey: secretAccessKey,
    Token: session.token,
    Expiration: timestamp(session.expires),
  });
}

/** As IMDS words a time: to the second. */
function timestamp(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}
