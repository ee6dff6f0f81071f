/** How long a key that was pushed is accepted, ms. */
const KEY_LIFETIME_MS = 60_000;

interface ActiveKey {
  instance: string;
  user: string;
  key: string;
  until: number;
}

/** The public keys that were pushed to instances, each for a minute: what an instance reads from its metadata service. */
export class ActiveKeys {
  private keys: ActiveKey[] = [];

  constructor(private readonly lifetime = KEY_LIFETIME_MS) {}

  add(instance: string, user: string, key: string): void {
    this.forget();
    this.keys.push({ instance, user, key, until: Date.now() + this.lifetime });
  }

  /** Undefined where none is active for the user. */
  of(instance: string, user: string): string[] | undefined {
    this.forget();
    const found = this.keys.filter((each) => each.instance === instance && each.user === user);
    return found.length ? found.map(({ key }) => key) : undefined;
  }

  private forget(): void {
    this.keys = this.keys.filter(({ until }) => until > Date.now());
  }
}
