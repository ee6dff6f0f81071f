import { randomBytes } from 'node:crypto';
import { AwsError } from './aws-error';

/** Who signs: what a signature is verified with, and what an answer says of the caller. */
export interface Identity {
  accessKeyId: string;
  secretAccessKey: string;
  arn: string;
  /** Actions that are denied, e.g. `s3:ListBucket`; `ssm:*` for all of a service. */
  deny?: string[];
  /** Actions that an instance's role may besides what the role of aws-setup may, on every resource. */
  allow?: string[];
  /** Temporary credentials: the token that must come with each request, and when it ends, ms since the epoch. */
  session?: { token: string; expires: number };
  /** The instance whose role it is. */
  instance?: string;
}

/** One who may sign besides: all but the secret, which is the state directory's. */
export type IdentityOptions = Omit<Identity, 'secretAccessKey'>;

export const ACCOUNT = '000000000000';

/** The identity whose keys local AWS prints. */
export const LOCAL_IDENTITY: IdentityOptions = {
  accessKeyId: 'AKIALOCALLOCALLOCAL1',
  arn: `arn:aws:iam::${ACCOUNT}:user/local`,
};

/** A role for a program that is to speak as an instance does; an instance's own role gives it others. */
export const INSTANCE_IDENTITY: IdentityOptions = {
  accessKeyId: 'ASIALOCALINSTANCE001',
  arn: `arn:aws:sts::${ACCOUNT}:assumed-role/local-instance/session`,
  session: { token: 'local-instance-role', expires: Infinity },
  instance: 'any',
};

/** Everyone who may sign. Sessions are forgotten by a restart, which their callers see as a token that is not valid. */
export class Identities {
  private readonly known = new Map<string, Identity>();

  /** @param secretAccessKey of all of them; a role that is assumed gets its own. */
  constructor(secretAccessKey: string, identities: IdentityOptions[]) {
    for (const each of identities) this.known.set(each.accessKeyId, { ...each, secretAccessKey });
  }

  get(accessKeyId: string): Identity | undefined {
    return this.known.get(accessKeyId);
  }

  /**
   * @param seconds how long the session lives.
   * @param instance the one whose role it is, where it is one's.
   */
  assume(
    role: string,
    name: string,
    seconds: number,
    instance?: string,
  ): Identity & Required<Pick<Identity, 'session'>> {
    const identity: Identity & Required<Pick<Identity, 'session'>> = {
      accessKeyId: `ASIA${randomBytes(8).toString('hex').toUpperCase()}`,
      secretAccessKey: randomBytes(30).toString('base64'),
      arn: `${role.replace(':iam:', ':sts:').replace(':role/', ':assumed-role/')}/${name}`,
      session: { token: randomBytes(120).toString('base64'), expires: Date.now() + seconds * 1000 },
      instance,
    };
    this.known.set(identity.accessKeyId, identity);
    return identity;
  }
}

/** What each service calls it. */
const DENIED: Record<string, { code: string; status: number }> = {
  s3: { code: 'AccessDenied', status: 403 },
  sts: { code: 'AccessDenied', status: 403 },
  ec2: { code: 'UnauthorizedOperation', status: 403 },
};

/** @throws AwsError where an action, `<service>:<Action>`, is denied to whoever asks for it. */
export function allow(identity: Identity | null, action: string): void {
  const service = action.split(':')[0];
  if (!identity?.deny?.some((each) => each === action || each === `${service}:*`)) return;
  const { code, status } = DENIED[service] ?? { code: 'AccessDeniedException', status: 400 };
  const text = `User: ${identity.arn} is not authorized to perform: ${action} because no identity-based policy allows the ${action} action`;
  throw new AwsError(code, text, status);
}
