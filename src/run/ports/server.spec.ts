import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { until } from '../../system/until.fixture';
import { Pipeline, startPipeline } from '../pipeline.fixture';
import { forwardPorts } from './forward';
import { InstancePlace } from './place';
import { startServer, type Tool } from './server';

/** Answers with the token that it has got and its arguments, and says both. */
const SERVER = `
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ("%s %s %d" % (os.environ.get("TOKEN"), os.getcwd(), os.getpid())).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
print("token: %s\\x1b[2J" % os.environ.get("TOKEN"), flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
`;
const TOKEN = '0123456789abcdef0123456789abcdef';

describe('a server on an instance', () => {
  let at: Fixture;
  let pipeline: Pipeline;
  let said: string[];
  let controller: AbortController;
  const working: Promise<unknown>[] = [];
  beforeEach(async () => {
    at = await startPipeline();
    pipeline = await new Pipeline(at, 'auto').open({ script: 'train.py' });
    pipeline.write('model/train.py', 'print(1)\n');
    await pipeline.sync();
    said = [];
    controller = new AbortController();
    const { printer } = pipeline.context;
    for (const each of ['line', 'detail'] as const)
      jest.spyOn(printer, each).mockImplementation((text) => void said.push(text));
  });
  afterEach(async () => {
    controller.abort(new Error('stopped'));
    await Promise.allSettled(working.splice(0));
    pipeline.close();
    await at.close();
  });

  const tool = (...programs: string[][]): Tool => ({
    name: 'Tool',
    install: 'Install the tool.',
    programs,
    asRoot: [],
    tokenVariable: 'TOKEN',
  });
  const python = (text: string) => tool(['no-such-program', '{port}'], ['python3', '-c', text, '{port}']);
  const start = (what: Tool) => {
    const { context } = pipeline;
    return startServer(new InstancePlace(context), context.instance, what, TOKEN, controller.signal);
  };
  /** Forwards a port of this machine to it, and waits until it is open. `work` resolves to why it ended. */
  const forward = async (what: Tool) => {
    const place = new InstancePlace(pipeline.context);
    let opened = 0;
    const work = forwardPorts(
      place,
      [{ remote: await freePort(), local: undefined }],
      controller.signal,
      ([port]) => void (opened = port),
      (instance, signal) => startServer(place, instance, what, TOKEN, signal),
    ).catch((error: Error) => error);
    working.push(work);
    await until(() => opened > 0);
    return { work, port: opened };
  };
  const ask = async (port: number) => (await fetch(`http://127.0.0.1:${port}/`)).text();
  const isAlive = (pid: number) => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  /** Arguments of all processes of this machine. */
  const allArguments = () =>
    readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map((pid) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        } catch {
          return '';
        }
      })
      .join('\n');

  it('has its token from its environment, which is in no argument and not printed, and ends with its session', async () => {
    const server = await start(python(SERVER));
    const [token, directory, pid] = (await ask(server.port)).split(' ');
    expect(token).toBe(TOKEN);
    expect(directory).toMatch(/\/trees\/[^/]+\/files\/model$/);
    if (process.platform === 'linux') expect(allArguments()).not.toContain(TOKEN);
    expect(said.join('\n')).toContain('token: ***');
    expect(said.join('\n')).not.toMatch(new RegExp(`${TOKEN}|\u001b`));
    await server.close();
    await until(() => !isAlive(Number(pid)));
    await expect(ask(server.port)).rejects.toThrow();
  });

  it('that is not installed is named, with what installs it', async () => {
    await expect(start(tool(['no-such-program'], ['nor-this']))).rejects.toMatchObject({
      code: 'PROGRAM_MISSING',
      what: expect.stringContaining('there is no no-such-program or nor-this among the programs of the synced files'),
      next: 'Install the tool.',
    });
  });

  it('is not started in a run that has no environment yet', async () => {
    const { context } = pipeline;
    const run = '20260101-000000-model-abcdef';
    const home = join(at.aws.instances.disk(context.instance), 'root/runs', run);
    mkdirSync(join(home, 'work/model'), { recursive: true });
    writeFileSync(
      join(home, 'run.json'),
      JSON.stringify({ tree: context.tree, project: context.project, user: userInfo().username }),
    );
    await expect(start(python(SERVER))).rejects.toMatchObject({
      code: 'NO_ENVIRONMENT',
      next: expect.stringContaining('Try again when its log says'),
    });
  });

  it('that ends is told with what it printed last', async () => {
    const fails = python(
      'import sys; print("first"); print("no such option \\x1b]0;x\\x07", file=sys.stderr); sys.exit(3)',
    );
    const error = await start(fails).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'TOOL_FAILED', what: expect.stringMatching(/ended with exit code 3\.$/) });
    expect((error as { next: string }).next).toMatch(/^It printed last:\n.*first\nno such option/s);
    expect((error as { next: string }).next).not.toContain('\u001b');
  });

  it('is not believed to listen where another user does', async () => {
    if (process.getuid?.() !== 0) return;
    // As the user of another program on the instance.
    const taken = `
import os, socket, subprocess, sys, time
port = int(sys.argv[1])
if os.fork() == 0:
    os.setuid(65534)
    other = socket.socket()
    other.bind(("127.0.0.1", port))
    other.listen()
    time.sleep(30)
    os._exit(0)
time.sleep(2)
print("the port is taken")
sys.exit(1)
`;
    await expect(start(python(taken))).rejects.toMatchObject({ code: 'TOOL_FAILED' });
  });

  it('is forwarded, and started again at the same port of this machine if its session is lost', async () => {
    const { context } = pipeline;
    const { work, port: opened } = await forward(python(SERVER));
    const [token, , first] = (await ask(opened)).split(' ');
    expect(token).toBe(TOKEN);
    at.aws.restartAgent(context.instance);
    let second: string | undefined;
    await until(async () => {
      second = (await ask(opened).catch(() => '')).split(' ')[2];
      return second !== undefined && second !== first;
    });
    await until(() => !isAlive(Number(first)));
    controller.abort(new Error('stopped'));
    expect(await work).toMatchObject({ message: 'stopped' });
    await until(() => !isAlive(Number(second)));
  });

  it('that ends by itself ends the forwarding, with the reason', async () => {
    const once = `${SERVER.replace('serve_forever()', 'handle_request()')}\nsys.exit(7)\n`;
    const { work, port: opened } = await forward(python(once));
    await ask(opened).catch(() => undefined);
    expect(await work).toMatchObject({ code: 'TOOL_FAILED', what: expect.stringContaining('code 7') });
  });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
