import { Problem } from '../report/problem';

/**
 * Throws where a variable's value can't be used as a URL: Node's own error would show all of it, passwords too.
 * @param protocols those that are possible; all where none is given.
 */
export function assertAddress(variable: string, value: string, protocols: string[] = []): void {
  if (isAddress(value, protocols)) return;
  throw new Problem(
    'ADDRESS_INVALID',
    `${variable} is not set to a URL of the form http://host:port or https://host.`,
    {
      next: `Correct or unset ${variable}. In a name or a password, write "@" as %40, "/" as %2F, "#" as %23, "?" as %3F, "%" as %25.`,
    },
  );
}

function isAddress(value: string, protocols: string[]): boolean {
  try {
    const { protocol, hostname, username, password } = new URL(value);
    decodeURIComponent(username + password);
    return hostname !== '' && (!protocols.length || protocols.includes(protocol));
  } catch {
    return false;
  }
}
