import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { CreateSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { PutParameterCommand } from '@aws-sdk/client-ssm';
import type * as Checkout from '../cli/checkout';
import type * as Clean from '../cli/clean';
import type * as CacheKey from '../cli/cache-key';
import type * as Diff from '../cli/diff';
import type * as Report from '../cli/report';
import type * as List from '../cli/list';
import type * as Prune from '../cli/prune';
import { program } from '../cli/program';
import type * as Ui from '../cli/ui';
import { openUi } from '../ui/ui.fixture';
import type * as Runs from '../cli/runs';
import type * as SshProxy from '../cli/ssh-proxy';
import { NEEDS, type Need, type Who } from '../aws/permissions/needs';
import { createKey, filesOf, writeKnownHosts } from '../run/ssh/ssh-host';
import { writePrivate } from '../system/cache-file';
import { Workshop } from './lib/executor-harness.fixture';

// It lists files in a thread that loads TypeScript by itself; what is sent to AWS is the same.
jest.mock('../workspace/files/fresh-listing', () => ({
  FreshListing: class {
    prepare() {}
    list = async () => ['model/project.json', 'model/train.py'];
    async close() {}
  },
}));

// As Node names what is loaded when it is needed, which is not there before it is compiled.
jest.mock(
  './training/start-on-launched-instance.js',
  () => jest.requireActual('./training/start-on-launched-instance'),
  { virtual: true },
);
jest.mock('./training/start-with-fleet.js', () => jest.requireActual('./training/start-with-fleet'), { virtual: true });

const TRAIN = { script: 'train.py', environment: 'none' };
const SCRIPT = `
import os, sys, time
os.makedirs("artifacts", exist_ok=True)
open("artifacts/model", "w").write("trained")
time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else 0)
`;

/** Runs all that this package has in one workspace, one after the other, and holds the calls that were made against the table. */
describe('the table of permissions', () => {
  let shop: Workshop;
  /** What was called by whom, in each of its runs. */
  const seen = new Map<Who, Set<string>[]>();
  const ran = (who: Who, actions: Set<string>) => seen.set(who, [...(seen.get(who) ?? []), actions]);

  beforeAll(async () => {
    shop = await Workshop.open();
    shop.write('model/train.py', SCRIPT);
    await shop.at.ssm.send(new PutParameterCommand({ Name: '/nx-ec2/key', Value: 'hush', Type: 'SecureString' }));
    const secrets = new SecretsManagerClient(shop.at.clientOptions);
    await secrets.send(new CreateSecretCommand({ Name: 'nx-ec2/key', SecretString: 'hush' }));
    secrets.destroy();
    await shop.at.s3.send(new PutObjectCommand({ Bucket: 'data', Key: 'set/a', Body: 'a' }));
  });
  afterAll(() => shop.close());

  /** Does what one executor or verb does, and takes down what it, or an instance meanwhile, has called. */
  const as = async <T>(who: Who, work: () => Promise<T>): Promise<T> => {
    const { calls } = shop.at.aws;
    calls.clear();
    const done = await work();
    const of = (role: boolean) =>
      new Set(
        calls
          .all()
          .filter(({ instance }) => (instance !== undefined) === role)
          .map(({ action }) => action),
      );
    ran(who, of(false));
    if (of(true).size) ran('instance', of(true));
    return done;
  };
  const run = <T = { run: string }>(who: Who, options: object = {}) => as(who, () => shop.run<T>(who, options));

  /** Each call is in the table, and what the table says is always called, was. */
  const agree = (who: Who) => {
    const needs: Need[] = NEEDS[who];
    const runs = seen.get(who) ?? [];
    const made = new Set(runs.flatMap((each) => [...each]));
    const known = new Set(needs.map(({ action }) => action));
    const always = needs.filter(({ when }) => !when).map(({ action }) => action);
    expect({
      runs: runs.length > 0,
      'not in the table': [...made].filter((action) => !known.has(action)),
      'always, and not called': [...new Set(always.filter((action) => runs.some((each) => !each.has(action))))],
    }).toEqual({ runs: true, 'not in the table': [], 'always, and not called': [] });
  };

  it('has exactly the calls of remote-sync', async () => {
    await run('remote-sync');
    await run('remote-sync');
    shop.write('model/train.py', `${SCRIPT}\n# edited`);
    await run('remote-sync', { sync: { allowInline: false } });
    shop.forget();
    await run('remote-sync', { instance: { name: 'box' }, force: true });
    agree('remote-sync');
  });

  it('has exactly the calls of remote-doctor', async () => {
    await run('remote-doctor');
    shop.forget();
    await run('remote-doctor');
    agree('remote-doctor');
  });

  let first: string;
  it('has exactly the calls of remote-train', async () => {
    ({ run: first } = await run('remote-train', TRAIN));
    await run('remote-train', { ...TRAIN, rerun: true });
    const secrets = { A: 'ssm:/nx-ec2/key', B: 'secretsmanager:nx-ec2/key' };
    const datasets = [{ source: 's3://data/set', path: 'data', cacheKey: true }];
    await run('remote-train', { ...TRAIN, secrets, datasets, args: '3' });
    await run('remote-train', { ...TRAIN, secrets, secretsFrom: 'client', args: '0.1' });
    agree('remote-train');
  });

  let long: string;
  it('has exactly the calls of remote-submit', async () => {
    await run('remote-submit', { ...TRAIN, args: '0.2' });
    ({ run: long } = await run('remote-submit', { ...TRAIN, args: '300' }));
    agree('remote-submit');
  });

  it('has exactly the calls of remote-logs and remote-status', async () => {
    await run('remote-logs', { run: first });
    await run('remote-logs', { run: long, follow: false });
    await run('remote-status');
    await run('remote-status', { run: first });
    agree('remote-logs');
    agree('remote-status');
  });

  it('has exactly the calls of remote-cancel', async () => {
    await run('remote-cancel', { run: long });
    agree('remote-cancel');
  });

  it('has exactly the calls of remote-pull', async () => {
    await run('remote-pull', { run: first, output: 'brought' });
    agree('remote-pull');
  });

  it('has exactly the calls of remote-exec', async () => {
    await run('remote-exec', { command: 'true' });
    await run('remote-exec', { command: 'true', run: first });
    agree('remote-exec');
  });

  it('has exactly the calls of remote-shell', async () => {
    const stdin = Object.assign(new PassThrough(), { isTTY: true, isRaw: false, setRawMode: () => undefined });
    const before = Object.getOwnPropertyDescriptor(process, 'stdin')!;
    Object.defineProperty(process, 'stdin', { value: stdin, configurable: true });
    try {
      const done = run('remote-shell');
      stdin.write('exit\r');
      await done;
    } finally {
      Object.defineProperty(process, 'stdin', before);
    }
    agree('remote-shell');
  });

  it('has exactly the calls of remote-forward', async () => {
    for (const options of [{}, { run: first }]) {
      await as('remote-forward', async () => {
        const forwarding = shop
          .run('remote-forward', { port: '6006', ...options })
          .catch(({ message }: Error) => message);
        await shop.says(/http:\/\/127\.0\.0\.1:\d+ -> i-/);
        process.emit('SIGINT');
        expect(await forwarding).toContain('DETACHED');
      });
    }
    agree('remote-forward');
  });

  it.each(['remote-tensorboard', 'remote-jupyter', 'remote-dashboard'] as const)(
    'has exactly the calls of %s',
    async (name) => {
      await as(name, async () => {
        // The programs may be here, or not.
        const work = shop.run(name, { run: first }).catch(({ message }: Error) => message);
        await Promise.race([work, shop.says(/^(TensorBoard|Jupyter|Ray's dashboard): http/m)]);
        process.emit('SIGINT');
        expect(await work).toMatch(/DETACHED|PROGRAM_MISSING/);
      });
      agree(name);
    },
  );

  it('has exactly the calls of remote-ssh-config and its proxy', async () => {
    const server = createServer((socket) => void socket.write('SSH-2.0-test\r\n'));
    server.listen(0, shop.at.aws.instances.get(shop.instance)!.privateIp);
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    for (const options of [{}, { run: first }])
      await as('remote-ssh-config', () =>
        expect(shop.run('remote-ssh-config', { port, ...options })).rejects.toThrow('SSH_UNAVAILABLE'),
      );
    agree('remote-ssh-config');
    const { sshProxy } = (await import(`../cli/${'ssh-proxy'}`)) as typeof SshProxy;
    const { host, key, knownHosts } = filesOf('model');
    const common = {
      version: 1,
      workspaceRoot: shop.workspace,
      project: 'model',
      projectRoot: 'model',
      user: 'ubuntu',
      port,
    };
    const options = { bucket: 'bucket', instance: { id: shop.instance } };
    createKey(key);
    writeKnownHosts(knownHosts, 'model', shop.instance, []);
    for (const run of [undefined, first])
      await as('nx-ec2 ssh-proxy', async () => {
        writePrivate(host, JSON.stringify({ ...common, options, run }));
        const streams = { input: new PassThrough(), output: new PassThrough() };
        const proxy = sshProxy(host, streams, shop.printer());
        await Promise.race([once(streams.output, 'data'), proxy]);
        streams.input.end();
        await proxy;
      });
    agree('nx-ec2 ssh-proxy');
    server.close();
  });

  it('has exactly the calls of remote-watch', async () => {
    await as('remote-watch', async () => {
      const watching = shop.run('remote-watch').catch((error: Error) => error.message);
      await shop.says(/Watching\./);
      shop.write('model/train.py', `${SCRIPT}\n# watched`);
      await shop.says(/train\.py/);
      process.emit('SIGINT');
      expect(await watching).toContain('DETACHED');
    });
    agree('remote-watch');
  });

  const MADE = { type: 't3.micro', instanceProfile: 'training' };
  it('has exactly the calls for launched instances', async () => {
    await run('remote-doctor', { instance: MADE });
    await run('remote-up', { instance: MADE });
    await run('remote-up', { instance: MADE });
    await run('remote-sync', { instance: MADE });
    await run('remote-doctor', { instance: MADE });
    await run('remote-exec', { instance: MADE, command: 'true' });
    await run('remote-down', { instance: MADE, stop: true, force: true });
    await run('remote-up', { instance: MADE });
    await run('remote-down', { instance: MADE });
    await run('remote-down', { instance: { name: 'other' }, stop: true, force: true });
    await run('remote-train', { ...TRAIN, instance: { ...MADE, spot: true }, args: '0.3' });
    for (const who of ['up', 'down', 'sync', 'doctor', 'exec', 'train'] as const) agree(`remote-${who}`);
  });

  it('has exactly the calls for fleets', async () => {
    const instance = { ...MADE, spot: true, recovery: 'fleet', onFinish: { failure: 'terminate' } };
    const { aws } = shop.at;
    await run('remote-train', { ...TRAIN, instance, args: '0.4' });
    await run('remote-train', { ...TRAIN, instance, rerun: true, args: '0.4' });
    const { run: gone } = await run('remote-submit', { ...TRAIN, instance, args: '301' });
    aws.capacity.add({ market: 'spot' });
    const spot = () => aws.instances.all().filter(({ spotRequest, state }) => spotRequest && state !== 'terminated');
    for (const { id } of spot()) aws.interrupt(id, { noticeMs: 500 });
    await shop.until(() => spot().length === 0);
    await run('remote-cancel', { instance, run: gone });
    const wait = { ...instance, startupTimeout: '1s' };
    await as('remote-submit', () =>
      expect(shop.run('remote-submit', { ...TRAIN, instance: wait, args: '302' })).rejects.toThrow('FLEET_WAIT'),
    );
    aws.capacity.clear();
    await run('remote-submit', { ...TRAIN, instance, args: '303' });
    await run('remote-down', { instance, force: true });
    expect(aws.left()).toMatchObject({ fleets: [], launchTemplates: [], spotRequests: [] });
    for (const who of ['train', 'submit', 'cancel', 'down'] as const) agree(`remote-${who}`);
  });

  it('has exactly the calls of the nx-ec2 commands', async () => {
    // Loaded now, as executors are: Nx reads where the workspace is when it is loaded.
    const verb = (name: string) => import(`../cli/${name}`);
    const { diff } = (await verb('diff')) as typeof Diff;
    const { report } = (await verb('report')) as typeof Report;
    const { checkout } = (await verb('checkout')) as typeof Checkout;
    const { prune } = (await verb('prune')) as typeof Prune;
    const { cacheKey } = (await verb('cache-key')) as typeof CacheKey;
    const { runsList, runsStatus, runsWait, runsLogs } = (await verb('runs')) as typeof Runs;
    const where = { project: 'model', bucket: 'bucket' };
    shop.write('model/ec2.config.json', JSON.stringify({ instance: { name: 'box' } }));
    for (const show of [runsStatus, runsWait, runsLogs])
      await as('nx-ec2 runs', () => show(first, where, shop.printer()));
    await as('nx-ec2 runs', () => runsList(where, shop.printer()));
    await as('nx-ec2 runs diff', () => diff(first, long, where, shop.printer()));
    const html = `${shop.workspace}.html`;
    await as('nx-ec2 runs report', () => report([first], { ...where, html, base: long }, shop.printer()));
    rmSync(html);
    // Inside the workspace, tools would act on the code of the run.
    const output = `${shop.workspace}-out`;
    await as('nx-ec2 runs checkout', () => checkout(first, { ...where, output }, shop.printer()));
    rmSync(output, { recursive: true });
    const { ui } = (await verb('ui')) as typeof Ui;
    await as('nx-ec2 ui', async () => {
      for (const file of ['index.html', 'page.js', 'page.css']) shop.write(`page/${file}`, '');
      const stop = new AbortController();
      const host = { assets: join(shop.workspace, 'page'), signal: stop.signal };
      await ui({ bucket: 'bucket', open: false }, shop.printer(), {
        ...host,
        onReady: async (url) => {
          const ask = await openUi(url);
          const where = `project=model&run=${first}`;
          for (const path of ['run', 'log', 'metrics', 'files']) await ask(`/api/${path}?${where}`);
          for (const path of ['overview', 'instances', `rows?project=model&runs=${first}`]) await ask(`/api/${path}`);
          stop.abort();
        },
      });
    });
    const ages = { olderThan: '14d', refsOlderThan: '90d', keepSnapshots: '20', runsOlderThan: '90d', keepRuns: '20' };
    for (const apply of [false, true])
      await as('nx-ec2 store prune', () => prune({ ...ages, apply, bucket: 'bucket' }, shop.printer()));
    const { list } = (await verb('list')) as typeof List;
    const { clean } = (await verb('clean')) as typeof Clean;
    await as('nx-ec2 instances list', () => list({}, shop.printer()));
    for (const apply of [false, true]) await as('nx-ec2 instances clean', () => clean({ apply }, shop.printer()));
    const datasets = [
      { source: 's3://data/set', path: 'data', cacheKey: true },
      { source: 's3://data/set/a', path: 'a', cacheKey: true },
    ];
    shop.write('model/ec2.config.json', JSON.stringify({ train: { datasets } }));
    jest.spyOn(console, 'log').mockImplementation(() => undefined);
    await as('nx-ec2 cache-key', () => cacheKey('model', shop.workspace));
    for (const each of ['runs', 'runs diff', 'runs report', 'runs checkout', 'ui', 'store prune', 'cache-key'] as const)
      agree(`nx-ec2 ${each}`);
    for (const each of ['list', 'clean'] as const) agree(`nx-ec2 instances ${each}`);
  });

  it("has exactly the calls of the instances' role", () => agree('instance'));

  it('has each target and command of this package', () => {
    const { executors } = JSON.parse(readFileSync(join(__dirname, '../../executors.json'), 'utf8'));
    const verbs = program.commands.flatMap((command) =>
      command.commands.length ? command.commands.map((verb) => `${command.name()} ${verb.name()}`) : command.name(),
    );
    const READING = ['runs list', 'runs status', 'runs wait', 'runs logs'];
    const all = [
      ...Object.keys(executors),
      ...verbs.map((verb) => (READING.includes(verb) ? 'nx-ec2 runs' : `nx-ec2 ${verb}`)),
    ];
    // It runs AWS itself, and asks none.
    expect(all.filter((who) => !seen.has(who as Who) && who !== 'nx-ec2 local-aws')).toEqual([]);
  });
});
