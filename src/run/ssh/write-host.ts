import { join } from 'node:path';
import { Problem } from '../../report/problem';
import { writePrivate } from '../../system/cache-file';
import type { Place } from '../ports/place';
import { hostBlock } from './ssh-config';
import { createKey, filesOf, writeKnownHosts, writeSshHost, type SshHost } from './ssh-host';
import { askSshServer } from './ssh-server';

export interface HostRequest {
  name: string;
  host: Omit<SshHost, 'user'>;
  /** Absent: the login user of the image. */
  user?: string;
  signal: AbortSignal;
}

/**
 * Writes the files of a host that leads to the instance where the project is, whose SSH server it asks for its keys.
 * @throws Problem SSH_UNAVAILABLE, SSH_CONFIG, SSH_KEY, OPTION_INVALID of the name, and what a command throws.
 */
export async function writeHost(place: Place, { name, host, user: given, signal }: HostRequest) {
  const files = filesOf(name);
  const proxy = [process.execPath, join(__dirname, '../../cli/main.js'), 'ssh-proxy', files.host];
  // Paths that can't be written are said before anything is asked.
  hostBlock({ name, user: given ?? '', files, proxy });
  const where = await place.look(true, signal);
  if (!('instance' in where)) throw new Problem('SSH_UNAVAILABLE', 'over' in where ? where.over : where.waiting);
  const { instance } = where;
  const server = await askSshServer(place.context, instance, host.port, signal);
  const user = given ?? server.user;
  writeSshHost(name, files, { ...host, user });
  createKey(files.key);
  writeKnownHosts(files.knownHosts, name, instance, server.keys);
  writePrivate(files.config, hostBlock({ name, user, files, proxy }));
  return { files, user, instance, hasInstanceConnect: server.hasInstanceConnect };
}
