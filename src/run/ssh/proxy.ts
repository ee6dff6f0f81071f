import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { openSsh, type SshSession } from '../../command/ports/ssh-session';
import { Problem } from '../../report/problem';
import type { Place } from '../ports/place';
import { pushKey } from './push-key';
import { knownInstance, publicKeyOf, writeKnownHosts, type SshHost } from './ssh-host';
import { askSshServer } from './ssh-server';

export interface ProxyOptions {
  host: Pick<SshHost, 'user' | 'port'>;
  /** The name of the host in its file of known hosts. */
  name: string;
  key: string;
  knownHosts: string;
  input: Readable;
  output: Writable;
  signal: AbortSignal;
}

/**
 * Carries one connection of an SSH client to the server of the instance where the project is now. Before the client hears of
 * the server, its file of known hosts has the keys of this instance, and its public key is accepted there for 60 s.
 * @throws Problem SSH_UNAVAILABLE, SSH_KEY, and what sessions and commands throw.
 */
export async function proxySsh(place: Place, options: ProxyOptions): Promise<void> {
  const { context } = place;
  const { host, name, key, knownHosts, signal } = options;
  const where = await place.look(false, signal);
  if (!('instance' in where))
    throw new Problem('SSH_UNAVAILABLE', 'over' in where ? where.over : where.waiting, {
      next: 'Connect again when the project has an instance.',
    });
  const { instance } = where;
  await context.at(instance).allowed();
  const request = { port: host.port, reason: `nx-ec2: SSH for ${context.project}` };
  const opening = openSsh(context.aws, instance, request);
  // What fails first is told.
  opening.catch(() => undefined);
  try {
    if (knownInstance(knownHosts) !== instance) {
      const { keys } = await askSshServer(context, instance, host.port, signal);
      writeKnownHosts(knownHosts, name, instance, keys);
    }
    const session = await opening;
    await pushKey(context.aws, instance, host.user, publicKeyOf(key), signal);
    await carry(session, options);
  } finally {
    // Also one that is still being opened when the signal comes: left alone, it would last until its idle timeout.
    await opening.then((session) => session.close()).catch(() => undefined);
  }
}

/** Resolves when either side has ended and what came before has been written, or at the signal. */
async function carry({ connection, ended }: SshSession, { input, output, signal }: ProxyOptions): Promise<void> {
  connection.on('error', () => undefined);
  // A client that is gone is no error.
  for (const stream of [input, output]) stream.on('error', () => undefined);
  connection.pipe(output, { end: false });
  input.pipe(connection);
  const served = ended.then(async () => {
    if (connection.readable) await once(connection, 'end');
    await new Promise((resolve) => output.write('', resolve));
  });
  served.catch(() => undefined);
  const left = Promise.race([
    finished(connection, { readable: false }).catch(() => undefined),
    finished(output, { readable: false }).catch(() => undefined),
  ]);
  const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  await Promise.race([served, left, stopped]);
  // Its failure ends the connection, too: it is the one to be told.
  if (connection.errored) await served;
}
