import { randomBytes, timingSafeEqual } from 'node:crypto';

/** Names a cookie of a port: browsers send the cookies of 127.0.0.1 to all of its ports. */
const cookieName = (port: number) => `nx-ec2-ui-${port}`;

/** Who may use a server: the browser that has exchanged the token for a cookie. */
export class Session {
  /** Random, in the address that is printed; used once. */
  private token: string | null = secret();
  private readonly cookie = secret();

  /** What is appended to the server's address. */
  get query(): string {
    return `?token=${this.token ?? ''}`;
  }

  /** Exchanges the token. @returns the value of a Set-Cookie header; null: it is not the token, or was used. */
  exchange(token: string, port: number): string | null {
    if (this.token === null || !isEqual(token, this.token)) return null;
    this.token = null;
    return `${cookieName(port)}=${this.cookie}; HttpOnly; SameSite=Strict; Path=/`;
  }

  /** Whether a Cookie header has the session's cookie. */
  accepts(header: string | undefined, port: number): boolean {
    const given = (header ?? '').split(/;\s*/).filter((each) => each.startsWith(`${cookieName(port)}=`));
    return given.length === 1 && isEqual(given[0].slice(cookieName(port).length + 1), this.cookie);
  }
}

function secret(): string {
  return randomBytes(32).toString('base64url');
}

function isEqual(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)];
  return a.length === b.length && timingSafeEqual(a, b);
}
