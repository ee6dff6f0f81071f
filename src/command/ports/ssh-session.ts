import type { Duplex } from 'node:stream';
import type { Aws } from '../../aws/clients';
import { Problem } from '../../report/problem';
import { openStream, type SessionStream } from '../session/stream';
import { REFUSED } from './port-session';
import { SingleConnection } from './single-connection';

export interface SshSession {
  /** The connection to the SSH server. It ends where the server closes it. */
  connection: Duplex;
  /** Why the session ended. Rejects with a Problem where nothing listens on the port, or the stream is lost for good. */
  ended: Promise<string>;
  close(): Promise<void>;
}

export interface SshRequest {
  port: number;
  /** Shown in the console's session history. */
  reason: string;
}

const DOCUMENT = 'AWS-StartSSHSession';

/**
 * Opens a session that carries one connection to the SSH server of an instance.
 * @throws Problem what openStream throws.
 */
export async function openSsh(aws: Aws, instance: string, { port, reason }: SshRequest): Promise<SshSession> {
  const opening: { stream?: SessionStream } = {};
  const single = new SingleConnection({
    write: (data, onSent) => opening.stream?.write(data, onSent),
    hold: (held) => opening.stream?.hold(held),
  });
  const stream = await openStream(aws, instance, {
    document: DOCUMENT,
    parameters: { portNumber: [String(port)] },
    reason,
    onOutput: (data) => single.receive(data),
    onError: () => undefined,
  });
  opening.stream = stream;
  const ended = stream.ended.then(
    ({ why }) => {
      if (REFUSED.test(why)) throw nothingListens(instance, port);
      return why;
    },
    (error: unknown) => Promise.reject(error as Error),
  );
  ended.then(
    () => single.receiveEnd(),
    (error: Error) => single.close(error),
  );
  const close = () => stream.close();
  return { connection: single.connect(() => void close().catch(() => undefined)), ended, close };
}

/** @returns the error of an instance whose SSH server does not run. */
export function nothingListens(instance: string, port: number): Problem {
  return new Problem(
    'SSH_UNAVAILABLE',
    `Nothing listens on the port ${port} of ${instance}: its SSH server does not run.`,
    {
      next: 'Start it there (sudo systemctl enable --now sshd; on Ubuntu and Debian: ssh), or name its port with --port.',
    },
  );
}
