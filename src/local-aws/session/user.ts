import { execFileSync } from 'node:child_process';

/** As whom Session Manager runs sessions, unless its preferences name another user. */
export const SSM_USER = 'ssm-user';

export interface SessionUser {
  uid: number;
  gid: number;
}

/**
 * The ids of the user that sessions run as. Only root can become another user; the agent would create ssm-user, local
 * AWS creates no user of this machine.
 * @param name absent: ssm-user, where this machine has it.
 * @returns undefined where sessions run as the user of this process.
 * @throws Error where a user that was named can't be had.
 */
export function sessionUser(name?: string): SessionUser | undefined {
  const own = process.getuid?.();
  if (own !== 0 && name === undefined) return undefined;
  const id = (option: string) =>
    Number(execFileSync('id', [option, name ?? SSM_USER], { encoding: 'utf8', stdio: 'pipe' }));
  let user: SessionUser;
  try {
    user = { uid: id('-u'), gid: id('-g') };
  } catch {
    if (name === undefined) return undefined;
    throw new Error(`This machine has no user ${name}.`);
  }
  if (user.uid === own) return undefined;
  if (own !== 0) throw new Error(`Local AWS must run as root for sessions to run as ${name}.`);
  return user;
}
