import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, connect, type AddressInfo, type Socket } from 'node:net';
import { isOtherUser } from './peer-user';

const linux = process.platform === 'linux' ? it : it.skip;
const NOBODY = 65_534;

describe('the user who made a connection', () => {
  const accept = async (host: string, client: (port: number) => { close: () => void }) => {
    const server = createServer().listen(0, host);
    await once(server, 'listening');
    const { close } = client((server.address() as AddressInfo).port);
    const [socket] = (await once(server, 'connection')) as [Socket];
    try {
      return isOtherUser(socket);
    } finally {
      close();
      socket.destroy();
      server.close();
    }
  };
  const own = (host: string) => (port: number) => {
    const socket = connect(port, host);
    socket.on('error', () => undefined);
    return { close: () => void socket.destroy() };
  };

  linux.each([
    ['127.0.0.1', '127.0.0.1'],
    ['127.0.0.1', '::ffff:127.0.0.1'],
    ['::', '127.0.0.1'],
  ])('is known to be this one: a server on %s, a client of %s', async (host, to) =>
    expect(await accept(host, own(to))).toBe(false),
  );

  (process.getuid?.() === 0 && process.platform === 'linux' ? it : it.skip)(
    'is known to be another one (skipped unless it runs as root)',
    async () => {
      const other = (port: number) => {
        const program =
          'const s = require("net").connect(+process.argv[1], "127.0.0.1"); s.on("error", () => 0); setTimeout(() => 0, 60000)';
        const child = spawn(process.execPath, ['-e', program, String(port)], { uid: NOBODY, gid: NOBODY, cwd: '/' });
        return { close: () => void child.kill('SIGKILL') };
      };
      expect(await accept('127.0.0.1', other)).toBe(true);
    },
  );

  linux('is nobody this side trusts where the connection is gone', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
    client.on('error', () => undefined);
    const [socket] = (await once(server, 'connection')) as [Socket];
    socket.destroy();
    client.destroy();
    await once(socket, 'close');
    expect(isOtherUser(socket)).toBe(true);
    server.close();
  });
});
