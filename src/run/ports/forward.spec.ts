import { once } from 'node:events';
import { connect, createServer, type Server } from 'node:net';
import { TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { until } from '../../system/until.fixture';
import { Pipeline, startPipeline } from '../pipeline.fixture';
import { forwardPorts } from './forward';
import { InstancePlace, type Place, type PlaceState } from './place';
import { parsePorts } from './port-option';

describe('the ports of --port', () => {
  it('are one number, or two', () => {
    expect(parsePorts(6006)).toEqual([{ remote: 6006, local: undefined }]);
    expect(parsePorts(['6006', '8888:9999'])).toEqual([
      { remote: 6006, local: undefined },
      { remote: 8888, local: 9999 },
    ]);
  });

  it.each(['', '0', '65536', 'x', '1:2:3', '6006:', ':6006', '-1', '1e3', '6006:0'])('are not "%s"', (value) => {
    expect(() => parsePorts(value)).toThrow(/is not a port/);
  });

  it('name a local port once', () => {
    expect(() => parsePorts(['1:7', '2:7'])).toThrow(/the local port 7 is named twice/);
    expect(() => parsePorts(['1', '2', '1'])).toThrow('--port: 1 is named twice.');
    expect(parsePorts(['1', '1:7'])).toHaveLength(2);
    expect(() => parsePorts(undefined)).toThrow(/No port is given/);
  });
});

describe('forwarded ports', () => {
  let at: Fixture;
  let pipeline: Pipeline;
  let controller: AbortController;
  let said: string[];
  const servers: Server[] = [];
  const working: Promise<string>[] = [];
  beforeEach(async () => {
    at = await startPipeline({ instances: ['box', 'other'] });
    pipeline = await new Pipeline(at, 'auto').open({ script: 'train.py' });
    controller = new AbortController();
    said = [];
    jest.spyOn(pipeline.context.printer, 'line').mockImplementation((text) => void said.push(text));
  });
  afterEach(async () => {
    controller.abort(new Error('stopped'));
    await Promise.all(working.splice(0));
    for (const server of servers.splice(0)) server.close();
    pipeline.close();
    await at.close();
  });

  /** A server on an instance that answers each connection with a word and the first bytes that it gets. */
  const serve = async (instance: string, word: string, port = 0) => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('data', (data) => socket.write(`${word}: ${data}`));
    });
    server.listen(port, at.aws.instances.get(instance)!.privateIp);
    await once(server, 'listening');
    servers.push(server);
    return (server.address() as { port: number }).port;
  };
  const forward = (port: string, place: Place = new InstancePlace(pipeline.context)) => {
    const done = forwardPorts(place, parsePorts(port), controller.signal).then(
      (why) => why,
      (error: Error) => error.message,
    );
    working.push(done);
    const says = (words: RegExp) => until(() => said.some((line) => words.test(line)), { what: () => said.join('\n') });
    const local = async () => {
      await says(/^http/);
      return Number(/127\.0\.0\.1:(\d+)/.exec(said.filter((line) => line.startsWith('http')).at(-1)!)![1]);
    };
    return { done, says, local };
  };
  /** What comes of one question over a local port; empty where the connection was closed. */
  const ask = async (port: number) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write('x');
    const answer = await new Promise<string>((resolve) => {
      socket.on('data', (data) => resolve(String(data)));
      socket.on('close', () => resolve(''));
    });
    socket.destroy();
    return answer;
  };
  const stop = async (done: Promise<string>) => {
    controller.abort(new Error('stopped'));
    expect(await done).toBe('stopped');
    expect(at.aws.calls.all().filter(({ action }) => action === 'ssm:TerminateSession').length).toBeGreaterThan(0);
  };

  it('carry connections to the instance, and end at once at a signal', async () => {
    const port = await serve(pipeline.context.instance, 'box');
    const { done, local } = forward(String(port));
    const own = await local();
    expect(said).toContain(`http://127.0.0.1:${own} -> ${pipeline.context.instance} port ${port}`);
    expect(await Promise.all([ask(own), ask(own)])).toEqual(['box: x', 'box: x']);
    await stop(done);
    expect(await ask(own)).toBe('');
  });

  it('are others on this machine where these are in use, unless they were named', async () => {
    const port = await serve(pipeline.context.instance, 'box');
    const taken = createServer().listen(port, '127.0.0.1');
    servers.push(taken);
    await once(taken, 'listening');
    expect(await forward(`${port}:${port}`).done).toMatch(`The port ${port} of this machine is in use.`);
    const { done, says, local } = forward(String(port));
    await says(new RegExp(`^The port ${port} of this machine is in use: \\d+ takes its place`));
    expect(await ask(await local())).toBe('box: x');
    await stop(done);
  });

  it('say once that nothing listens, and work when something does', async () => {
    const { instance } = pipeline.context;
    const port = await serve(instance, 'box');
    const closing = servers.pop()!;
    closing.close();
    await once(closing, 'close');
    const { done, local } = forward(String(port));
    const own = await local();
    expect([await ask(own), await ask(own)]).toEqual(['', '']);
    expect(said.filter((line) => /^Nothing listens on the port/.test(line))).toHaveLength(1);
    await serve(instance, 'box', port);
    expect(await ask(own)).toBe('box: x');
    await stop(done);
  });

  it('are opened again after their session has ended', async () => {
    const { instance } = pipeline.context;
    const port = await serve(instance, 'box');
    const { done, says, local } = forward(String(port));
    const own = await local();
    const open = connect(own, '127.0.0.1');
    const closed = new Promise((resolve) => open.on('close', resolve));
    open.on('error', () => undefined).resume();
    open.write('x');
    await once(open, 'data');
    at.aws.restartAgent(instance);
    await closed;
    await says(/^The session for port \d+ of i-\w+ ended \(The agent was restarted\); opening another one\.$/);
    await says(/, again$/);
    expect(await ask(own)).toBe('box: x');
    await stop(done);
  });

  it('end if their instance is gone', async () => {
    const { instance } = pipeline.context;
    const { done, local } = forward(String(await serve(instance, 'box')));
    await local();
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [instance] }));
    expect(await done).toMatch(`The instance ${instance} is terminated`);
  });

  it('follow a run to its next instance, and end with it', async () => {
    const [first, second] = ['box', 'other'].map((name) => at.aws.named.get(name)!.id);
    const port = await serve(first, 'first');
    let where: PlaceState = { instance: first };
    pipeline.context.allow([first, second]);
    const { context } = pipeline;
    const place = { context, instance: first, runId: null, tree: context.tree, look: async () => where };
    const { done, says, local } = forward(String(port), place);
    const own = await local();
    expect(await ask(own)).toBe('first: x');
    where = { waiting: 'waiting for another' };
    at.aws.restartAgent(first);
    await says(/^waiting for another$/);
    await serve(second, 'second', port);
    where = { instance: second };
    await says(new RegExp(`-> ${second} port`));
    expect(await ask(own)).toBe('second: x');
    where = { over: 'The run has ended.' };
    at.aws.restartAgent(second);
    expect(await done).toBe('The run has ended.');
    expect(said.filter((line) => line === 'waiting for another')).toHaveLength(1);
  });
});
