import type { Agent as HttpAgent } from 'node:http';
import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

type Create = (options: { host?: string; port?: number | string }, done?: unknown) => Socket;

/**
 * Connections that are opened before anything is to be sent, while the SDK loads and files are scanned: a new one costs
 * two round trips. Each is handed to the first request for its host; one that has failed by then is ignored.
 */
export class EarlyConnections {
  /** By host, one for each who is to need one. */
  private readonly waiting = new Map<string, Map<string, Socket>>();
  private readonly opened = new Map<string, Promise<void>>();

  /** @param ca authorities beside Node's own. @param service where several are at one host, each has its own. */
  open(url: URL, ca: string[] | undefined, service = ''): void {
    const secure = url.protocol === 'https:';
    const port = Number(url.port) || (secure ? 443 : 80);
    const host = url.hostname.replace(/^\[|\]$/g, '');
    const key = `${host}:${port}`;
    const there = this.waiting.get(key) ?? new Map<string, Socket>();
    if (there.has(service)) return;
    this.waiting.set(key, there);
    const socket = secure
      ? connectTls({ host, port, servername: host, ca, ALPNProtocols: ['http/1.1'] })
      : connectPlain({ host, port });
    socket.setNoDelay(true);
    // Whoever needs it meets the same error, and reports it.
    socket.on('error', () => there.delete(service));
    there.set(service, socket);
    const established = new Promise<void>((resolve) => {
      socket.once(secure ? 'secureConnect' : 'connect', () => resolve()).once('close', () => resolve());
    });
    this.opened.set(service, established);
  }

  /** Resolves when the connection that was opened for a service can be used, has failed, or none was opened. */
  async settled(service: string): Promise<void> {
    await this.opened.get(service);
  }

  /** Has an agent take what waits before it connects by itself. */
  serve(agent: HttpAgent): void {
    const own = agent as unknown as { createConnection: Create };
    const create = own.createConnection.bind(agent);
    own.createConnection = (options, done) => {
      const key = `${options.host}:${options.port}`;
      const there = this.waiting.get(key);
      for (const [service, socket] of there ?? []) {
        there!.delete(service);
        if (!socket.destroyed) return socket;
      }
      return create(options, done);
    };
  }

  close(): void {
    for (const there of this.waiting.values()) for (const socket of there.values()) socket.destroy();
    this.waiting.clear();
  }
}
