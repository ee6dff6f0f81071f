import type { Duplex } from 'node:stream';
import type { Aws } from '../../aws/clients';
import { Problem } from '../../report/problem';
import { openStream, type SessionStream } from '../session/stream';
import type { PortPipe } from './port-connection';
import { SingleConnection } from './single-connection';
import { SmuxClient } from './smux-client';
import { SmuxError } from './smux-frame';

export interface PortSession {
  /** Whether one session carries many connections; else each has a session of its own. */
  multiplexed: boolean;
  /** Why it ended. Rejects with a Problem where its stream is lost for good. */
  ended: Promise<string>;
  /** Opens a connection to the port. It is destroyed with an error when the session ends. */
  connect(): Duplex;
  close(): Promise<void>;
}

export interface PortRequest {
  port: number;
  /** Shown in the console's session history. */
  reason: string;
  /** Nothing listens on the port. */
  onRefused(): void;
}

const DOCUMENT = 'AWS-StartPortForwardingSession';
/** A number that the agent sends where it could not connect to the port. */
const CONNECT_ERROR = 3;
/** Agents after this version carry many connections in one session. */
const SINGLE_UP_TO = [3, 0, 196, 0];
/** How an agent with one connection says that nothing listens. */
export const REFUSED = /unable to connect to specified port/i;

/**
 * Opens a session to a port of an instance.
 * @throws Problem what openStream throws.
 */
export async function openPort(aws: Aws, instance: string, request: PortRequest): Promise<PortSession> {
  let client: SmuxClient | SingleConnection | undefined;
  const opening: { stream?: SessionStream } = {};
  const pipe: PortPipe = {
    write: (data, onSent) => opening.stream?.write(data, onSent),
    hold: (held) => opening.stream?.hold(held),
  };
  const opened = await openStream(aws, instance, {
    document: DOCUMENT,
    parameters: { portNumber: [String(request.port)] },
    reason: request.reason,
    onAgent: (version) => {
      client?.close(new Error('the session was replaced'));
      client = isSingle(version) ? new SingleConnection(pipe) : new SmuxClient(pipe);
    },
    onOutput: (data) => receive(instance, client, data),
    onError: () => undefined,
    onFlag: (flag) => void (flag === CONNECT_ERROR && request.onRefused()),
  });
  opening.stream = opened;
  const ended = opened.ended.then(
    ({ why }) => {
      if (REFUSED.test(why)) request.onRefused();
      client?.close(new Error(why));
      return why;
    },
    (error: Error) => {
      client?.close(error);
      throw error;
    },
  );
  ended.catch(() => undefined);
  const close = () => opened.close();
  if (client instanceof SmuxClient) return { multiplexed: true, ended, close, connect: client.connect.bind(client) };
  // Such an agent does not say when the server closes the connection.
  const single = client ?? new SingleConnection(pipe);
  return { multiplexed: false, ended, close, connect: () => single.connect(() => void close().catch(() => undefined)) };
}

/** @throws Problem SESSION_PROTOCOL, which ends the session. */
function receive(instance: string, client: SmuxClient | SingleConnection | undefined, data: Buffer): void {
  try {
    client?.receive(data);
  } catch (error) {
    if (!(error instanceof SmuxError)) throw error;
    throw new Problem('SESSION_PROTOCOL', `The port session of ${instance} is not smux: ${error.message}.`);
  }
}

function isSingle(version = '0'): boolean {
  const parts = version.split('.').map(Number);
  const at = SINGLE_UP_TO.findIndex((part, index) => (parts[index] ?? 0) !== part);
  return at === -1 || (parts[at] ?? 0) < SINGLE_UP_TO[at];
}
