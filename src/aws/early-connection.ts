import type { Agent as HttpAgent } from 'node:http';
import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

type Create = (options: { host?: string; port?: number | string }, done?: unknown) => Socket;

/**
 * Connections that are opened before anything is to be sent, while the SDK loads and files are scanned: a new one costs
 * two round trips. Each is handed to the first request for its host; one that failed meanwhile is as if it had not been.
 */
export class EarlyConnections {
  private readonly waiting = new Map<string, Socket>();

  /** @param ca authorities beside Node's own. */
  open(url: URL, ca: string[] | undefined): void {
    const secure = url.protocol === 'https:';
    const port = Number(url.port) || (secure ? 443 : 80);
    const host = url.hostname.replace(/^\[|\]$/g, '');
    const key = `${host}:${port}`;
    if (this.waiting.has(key)) return;
    const socket = secure
      ? connectTls({ host, port, servername: host, ca, ALPNProtocols: ['http/1.1'] })
      : connectPlain({ host, port });
    socket.setNoDelay(true);
    // Whoever needs it meets the same error, and reports it.
    socket.on('error', () => this.waiting.delete(key));
    this.waiting.set(key, socket);
  }

  /** Has an agent take what waits before it connects by itself. */
  serve(agent: HttpAgent): void {
    const own = agent as unknown as { createConnection: Create };
    const create = own.createConnection.bind(agent);
    own.createConnection = (options, done) => {
      const key = `${options.host}:${options.port}`;
      const socket = this.waiting.get(key);
      this.waiting.delete(key);
      return socket && !socket.destroyed ? socket : create(options, done);
    };
  }

  close(): void {
    for (const socket of this.waiting.values()) socket.destroy();
    this.waiting.clear();
  }
}
