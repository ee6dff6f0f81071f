import { ACCOUNT, type Identities, type Identity } from '../protocol/identity';

/** As long as AWS gives credentials for, seconds; and how long before their end there are new ones. */
const LIFETIME_S = 6 * 3600;
const RENEWAL_MARGIN_MS = 5 * 60_000;

/** The role of one instance, and the credentials that the instance has by it. */
export class InstanceRole {
  /** null: the instance has none. Credentials that it was given before hold to their end, as AWS's do. */
  name: string | null;
  /** Actions that are denied to it, e.g. `s3:PutObject`; `ssm:*` for all of a service. */
  readonly deny: string[] = [];
  /** Actions that it may besides what the role of aws-setup may, on every resource: policies that somebody attached. */
  readonly allow: string[] = [];
  /** Seconds that the credentials live which are handed out from now on. */
  lifetime = LIFETIME_S;
  private current?: Identity & Required<Pick<Identity, 'session'>>;

  constructor(
    private readonly instance: string,
    private readonly identities: Identities,
    profile: string | null,
  ) {
    this.name = profile;
  }

  /** Those that the metadata service hands out now. */
  credentials(): Identity & Required<Pick<Identity, 'session'>> {
    const remaining = (this.current?.session.expires ?? 0) - Date.now();
    if (!this.current || remaining < Math.min(RENEWAL_MARGIN_MS, (this.lifetime * 1000) / 2)) {
      this.current = this.identities.assume(
        `arn:aws:iam::${ACCOUNT}:role/${this.name}`,
        this.instance,
        this.lifetime,
        this.instance,
      );
      this.current.deny = this.deny;
      this.current.allow = this.allow;
    }
    return this.current;
  }

  /** What was handed out so far is expired; whoever asks again gets others. */
  expire(): void {
    if (this.current) this.current.session.expires = Date.now() - 1;
    this.current = undefined;
  }
}
