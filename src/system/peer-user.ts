import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';

/** Columns of /proc/net/tcp. */
const LOCAL = 1;
const REMOTE = 2;
const USER = 7;
const ROOT = 0;

/**
 * Whether a connection within this machine was made by a process of another user, who is not root: whatever it knows, it
 * learned from this user's processes, whose arguments all users can read. Undefined where the system does not tell whose
 * it is: only Linux does, in /proc/net.
 */
export function isOtherUser(socket: Socket): boolean | undefined {
  const own = process.getuid?.();
  const { remoteAddress, remotePort, localAddress, localPort } = socket;
  if (own === undefined || process.platform !== 'linux') return undefined;
  // What is not there any more, or never was, is nobody's.
  if (!remoteAddress || !localAddress) return true;
  const [from, to] = [endOf(remoteAddress, remotePort!), endOf(localAddress, localPort!)];
  const users = ['tcp', 'tcp6'].flatMap((table) => usersOf(table, from, to));
  if (users.some((user) => user === null)) return undefined;
  return !users.some((user) => user === own || user === ROOT);
}

/** An address and a port as the tables have them: of an IPv6 address that stands for one of IPv4, its last part. */
function endOf(address: string, port: number): string {
  const bytes = address
    .replace(/^::ffff:/i, '')
    .split('.')
    .map(Number);
  const hex = (value: number, width: number) => value.toString(16).toUpperCase().padStart(width, '0');
  return `${littleEndian(bytes.map((byte) => hex(byte, 2)))}:${hex(port, 4)}`;
}

function littleEndian(bytes: string[]): string {
  return [...bytes].reverse().join('');
}

/** The users of the connections of a table from one end to another; null: the table can't be read. */
function usersOf(table: string, from: string, to: string): (number | null)[] {
  let text: string;
  try {
    text = readFileSync(`/proc/net/${table}`, 'latin1');
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' && table === 'tcp6' ? [] : [null];
  }
  return text
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((columns) => columns[LOCAL]?.endsWith(from) && columns[REMOTE]?.endsWith(to))
    .map((columns) => Number(columns[USER]));
}
