import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { until } from '../src/system/until.fixture';
import { uvDirectory } from './interop/programs';

const versions = (process.env.NX_EC2_E2E_NX ?? '23.2.1').split(',');
/** All of it is shown on one version; on the others, what Nx has a part in. */
const main = versions.includes('23.2.1') ? '23.2.1' : versions[0];
const root = join(__dirname, '..');
const uv = uvDirectory();

describe.each(versions)('the packed plugin in an Nx %s workspace', (version) => {
  const once = version === main ? it : it.skip;
  const workspace = join(mkdtempSync(join(tmpdir(), 'nx-ec2-e2e-')), 'workspace');
  let local: ChildProcess;
  let environment: NodeJS.ProcessEnv;
  let disk: string;

  const nx = (...args: string[]) => {
    const done = spawnSync('npx', ['nx', ...args.slice(0, 2), '--outputStyle=stream', ...args.slice(2)], {
      cwd: workspace,
      env: environment,
      encoding: 'utf8',
    });
    const stdout = stripVTControlCharacters(done.stdout);
    // Nx puts the project's name before each line.
    const lines = stdout.split('\n').map((line) => line.replace(/^[\w-]+: (?=\{)/, ''));
    return {
      code: done.status,
      text: stdout + stripVTControlCharacters(done.stderr),
      /** What `--json` printed. */
      results: lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Record<string, unknown>),
    };
  };
  const write = (path: string, text: string) => writeFileSync(join(workspace, path), text);
  const train = (script: string, ...args: string[]) => {
    write('digits/case.py', script);
    return nx('run', 'digits:remote-train', '--script=case.py', ...args);
  };
  const tree = () => {
    const trees = join(disk, 'root/trees');
    return join(trees, readdirSync(trees)[0], 'files');
  };

  beforeAll(async () => {
    execFileSync(process.execPath, [join(root, 'scripts/workspace/make-workspace.mjs'), workspace, version], {
      stdio: 'inherit',
    });
    local = spawn(process.execPath, ['node_modules/nx-ec2/dist/cli/main.js', 'local-aws', '--port', '0', '--json'], {
      cwd: workspace,
    });
    const started = await new Promise<{ environment: NodeJS.ProcessEnv; instance: string }>((resolve) =>
      local.stdout!.once('data', (data: Buffer) => resolve(JSON.parse(data.toString()))),
    );
    const { PYTHONUNBUFFERED: _, ...own } = process.env;
    environment = {
      ...own,
      ...started.environment,
      NX_DAEMON: 'false',
      NX_TUI: 'false',
      NX_NO_CLOUD: 'true',
      CI: 'true',
      NX_CACHE_DIRECTORY: join(workspace, '.nx/cache'),
      NX_WORKSPACE_DATA_DIRECTORY: join(workspace, '.nx/workspace-data'),
    };
    disk = join(workspace, '.nx-ec2/local-aws/instances', started.instance);
  });

  afterAll(async () => {
    const ended = new Promise((resolve) => local.once('exit', resolve));
    local.kill('SIGTERM');
    await ended;
    rmSync(join(workspace, '..'), { recursive: true, force: true });
  });

  once('syncs a project and its library, then only what changed, and deletes what was deleted', () => {
    write('digits/old.txt', 'old');
    expect(nx('run', 'digits:remote-sync').text).toMatch(/Synced \d+ files.* sent/);
    expect(readFileSync(join(tree(), 'libs/dataset/dataset/__init__.py'))).toEqual(
      readFileSync(join(workspace, 'libs/dataset/dataset/__init__.py')),
    );
    expect(nx('run', 'digits:remote-sync').text).toContain('nothing changed');

    rmSync(join(workspace, 'digits/old.txt'));
    write('digits/new $(x) `y` "z".txt', 'new');
    writeFileSync(join(tree(), 'digits/left-by-hand'), 'mine');
    const third = nx('run', 'digits:remote-sync', '--json');
    expect(third.text).toMatch(/1 file sent .*1 deleted/);
    expect(third.results).toEqual([
      expect.objectContaining({ success: true, target: 'remote-sync', written: 1, deleted: 1 }),
    ]);
    expect(existsSync(join(tree(), 'digits/old.txt'))).toBe(false);
    expect(readFileSync(join(tree(), 'digits/new $(x) `y` "z".txt'), 'utf8')).toBe('new');
    expect(readFileSync(join(tree(), 'digits/left-by-hand'), 'utf8')).toBe('mine');
    rmSync(join(workspace, 'digits/new $(x) `y` "z".txt'));
  });

  once('puts back what was changed on the instance, and says so', () => {
    writeFileSync(join(tree(), 'digits/train.py'), 'changed');
    const { code, text } = nx('run', 'digits:remote-sync');
    expect(code).toBe(0);
    expect(text).toContain('put back');
    expect(readFileSync(join(tree(), 'digits/train.py'))).toEqual(readFileSync(join(workspace, 'digits/train.py')));
  });

  once(
    'keeps the tree in step under watch, with new and ignored files, and leaves nothing behind when it is stopped',
    async () => {
      const watch = spawn('npx', ['nx', 'run', 'digits:remote-watch', '--outputStyle=stream'], {
        cwd: workspace,
        env: environment,
        detached: true,
      });
      let text = '';
      for (const stream of [watch.stdout, watch.stderr]) stream.on('data', (data: Buffer) => (text += data));
      const ended = new Promise((resolve) => watch.once('close', resolve));
      const waitFor = (holds: () => boolean) => until(holds, { what: () => `${holds} with:\n${text}`, everyMs: 10 });
      const there = (path: string) =>
        existsSync(join(tree(), path)) ? readFileSync(join(tree(), path), 'utf8') : null;
      await waitFor(() => text.includes('Watching'));
      const { pid } = JSON.parse(readFileSync(join(tree(), '../watch'), 'utf8')) as { pid: number };
      write('digits/watched.py', 'one');
      await waitFor(() => there('digits/watched.py') === 'one');
      write('digits/watched.py', 'two');
      write('libs/dataset/dataset/new.py', 'new');
      await waitFor(() => there('digits/watched.py') === 'two' && there('libs/dataset/dataset/new.py') === 'new');
      write('digits/.gitignore', 'watched.py\n');
      await waitFor(() => there('digits/watched.py') === null);
      rmSync(join(workspace, 'digits/.gitignore'));
      await waitFor(() => there('digits/watched.py') === 'two');
      rmSync(join(workspace, 'digits/watched.py'));
      rmSync(join(workspace, 'libs/dataset/dataset/new.py'));
      await waitFor(() => there('digits/watched.py') === null && there('libs/dataset/dataset/new.py') === null);
      expect(text).toMatch(/Synced digits\/watched\.py \(3 B\) in [\d.]+ (ms|s)/);
      process.kill(-watch.pid!, 'SIGINT');
      await ended;
      await waitFor(
        () => !existsSync(`/proc/${pid}`) || /^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8')),
      );
      expect(nx('run', 'digits:remote-sync').text).toContain('nothing changed');
    },
  );

  it('lists with --dryRun what would be sent and what is left out, and sends nothing', () => {
    write('digits/.env', 'SECRET=1');
    const { text } = nx('run', 'digits:remote-sync', '--dryRun');
    expect(text).toContain('libs/dataset/dataset/__init__.py');
    expect(text).toMatch(/digits\/\.env {2}\(may hold secrets\)/);
    rmSync(join(workspace, 'digits/.env'));
  });

  it('trains, brings the artifacts back, and restores them from the cache', () => {
    const first = nx('run', 'digits:remote-train');
    expect(first.code).toBe(0);
    expect(first.text).toMatch(/epoch 8\/8 {2}loss [\d.]+ {2}accuracy 0\.9/);
    const model = readFileSync(join(workspace, 'digits/artifacts/model.json'));
    expect(readFileSync(join(workspace, 'digits/artifacts/training.log'), 'utf8')).toContain('epoch 1/8');
    rmSync(join(workspace, 'digits/artifacts'), { recursive: true });
    const requests = readdirSync(join(disk, 'root/runs')).length;
    const second = nx('run', 'digits:remote-train');
    expect(second.text).toMatch(/local cache|existing outputs|Nx read the output from the cache/);
    expect(readFileSync(join(workspace, 'digits/artifacts/model.json'))).toEqual(model);
    expect(readdirSync(join(disk, 'root/runs'))).toHaveLength(requests);
    // So far Nx has loaded the plugin in a process of its own, as it does by default: from here on it saves half the work.
    environment.NX_ISOLATE_PLUGINS = 'false';
  });

  it('does not train again for a changed README, here or in a library, a timeout or a test', () => {
    write('digits/README.md', 'hello');
    write('libs/dataset/README.md', 'hello');
    write('digits/test_train.py', 'hello');
    const config = JSON.parse(readFileSync(join(workspace, 'digits/ec2.config.json'), 'utf8'));
    write('digits/ec2.config.json', JSON.stringify({ ...config, train: { ...config.train, timeout: '20m' } }));
    expect(nx('run', 'digits:remote-train').text).toMatch(
      /local cache|existing outputs|Nx read the output from the cache/,
    );
  });

  it('nx affected finds the projects that use a changed library, and no others', () => {
    execFileSync('git', ['add', '-A'], { cwd: workspace });
    execFileSync('git', ['-c', 'user.name=e2e', '-c', 'user.email=e2e@localhost', 'commit', '-qm', 'before'], {
      cwd: workspace,
    });
    write('libs/dataset/README.md', 'hello again');
    // They launch instances, and two of them install PyTorch or Ray there.
    const affected = [
      'affected',
      '--targets=remote-train',
      '--base=HEAD',
      '--exclude=digits-nodes,digits-ddp,digits-ray',
    ];
    expect(nx(...affected).text).toMatch(
      /No tasks were run|existing outputs|local cache|Nx read the output from the cache/,
    );
    const library = 'libs/dataset/dataset/__init__.py';
    write(library, `${readFileSync(join(workspace, library), 'utf8')}\n# changed\n`);
    const { code, text } = nx(...affected);
    expect(text).toMatch(/Training .*digits/);
    expect(text).not.toContain('tides:');
    expect(code).toBe(0);
  });

  it.each(['none', 'pip'])('scaffolds a project (Python tool: %s) that trains at once', (tool) => {
    const made = nx('g', 'nx-ec2:training-project', `models/${tool}`, `--environment=${tool}`, '--no-interactive');
    expect(made.text).toContain(`CREATE models/${tool}/train.py`);
    expect(made.code).toBe(0);
    const { code, text } = nx('run', `${tool}:remote-train`);
    expect(text).toContain('epoch 10/10');
    expect(text).toMatch(/Metrics: epoch 10, loss 0\.\d+, accuracy 0\.9\d*/);
    expect(code).toBe(0);
    expect(
      JSON.parse(readFileSync(join(workspace, `models/${tool}/artifacts/metrics.json`), 'utf8')).accuracy,
    ).toBeGreaterThan(0.9);
  });

  once('a scaffolded project passes its own test, is restored from the cache, and resumes from its checkpoint', () => {
    const project = join(workspace, 'models/none');
    const plot = readFileSync(join(project, 'artifacts/loss.svg'), 'utf8');
    expect(plot).toContain('loss of 10 epochs');

    // What the test leaves behind is no input of the training.
    const env = { ...process.env, PYTHONDONTWRITEBYTECODE: '' };
    const tested = spawnSync('python3', ['-m', 'unittest'], { cwd: project, env, encoding: 'utf8' });
    expect(tested.stderr).toMatch(/Ran 3 tests[^]*OK/);
    expect(existsSync(join(project, '__pycache__'))).toBe(true);
    rmSync(join(project, 'artifacts'), { recursive: true });
    expect(nx('run', 'none:remote-train').text).toMatch(
      /local cache|existing outputs|Nx read the output from the cache/,
    );
    expect(readFileSync(join(project, 'artifacts/loss.svg'), 'utf8')).toBe(plot);

    const resumed = nx('run', 'none:remote-train', '--resumeFrom=last', '--args=--epochs 12');
    expect(resumed.text).toMatch(/resumed after epoch 10[^]*epoch 11\/12[^]*Metrics: epoch 12/);
    expect(resumed.text).not.toContain('epoch 10/');
    expect(resumed.code).toBe(0);
    expect(readFileSync(join(project, 'artifacts/loss.svg'), 'utf8')).toContain('loss of 12 epochs');
  });

  it('adds targets to an existing project, as the generator says', () => {
    mkdirSync(join(workspace, 'plain/package'), { recursive: true });
    write('plain/project.json', '{ "name": "plain" }');
    write('plain/train.py', 'print("plainly trained")\n');
    const files = () => readdirSync(join(workspace, 'plain')).sort();
    expect(nx('g', 'nx-ec2:training-targets', 'plain', '--dry-run').text).toContain('CREATE plain/ec2.config.json');
    expect(files()).not.toContain('ec2.config.json');
    expect(nx('g', 'nx-ec2:training-targets', 'plain').code).toBe(0);
    expect(nx('run', 'plain:remote-train').text).toContain('plainly trained');
    expect(nx('g', 'nx-ec2:aws-setup', '--bucket=acme-training').text).toContain('aws cloudformation deploy');
    expect(existsSync(join(workspace, 'aws/nx-ec2.template.json'))).toBe(true);
  });

  (uv ? once : it.skip)(
    uv
      ? 'trains with uv, a lock file, an editable library and git-ignored data, and again when the data changes'
      : 'trains with uv (SKIPPED: uv is neither on the PATH nor to be had from an index)',
    () => {
      execFileSync('python3', ['tides/make_data.py'], { cwd: workspace });
      const config = JSON.parse(readFileSync(join(workspace, 'tides/ec2.config.json'), 'utf8'));
      // A login shell may know nothing of where this uv is, nor of the authorities and the index of this network.
      const passed = Object.entries(process.env).filter(([name]) => /^(UV_|SSL_CERT_FILE$|https?_proxy$)/i.test(name));
      const env = { ...Object.fromEntries(passed), PATH: `${uv}:/usr/bin:/bin`, UV_SYSTEM_CERTS: 'true' };
      write('tides/ec2.config.json', JSON.stringify({ ...config, train: { ...config.train, env } }));
      const first = nx('run', 'tides:remote-train');
      expect(first.text).toContain('+ uv sync --frozen');
      expect(first.text).toMatch(/error on held-out hours 0\.\d+ m/);
      expect(first.code).toBe(0);
      expect(nx('run', 'tides:remote-train').text).toMatch(
        /local cache|existing outputs|Nx read the output from the cache/,
      );
      write(
        'tides/data/tides.csv',
        readFileSync(join(workspace, 'tides/data/tides.csv'), 'utf8').replace('\n8759,', '\n8759,9'),
      );
      expect(nx('run', 'tides:remote-train').text).toContain('Synced');
    },
  );

  it('fails if the training fails, and shows the end of its log', () => {
    const { code, text, results } = train('import sys\nprint("last words")\nsys.exit(3)\n', '--json');
    expect(code).not.toBe(0);
    expect(results).toEqual([expect.objectContaining({ success: false, target: 'remote-train', project: 'digits' })]);
    expect(text).toContain('last words');
    expect(text).toContain('exited with 3');
  });

  it('is never a success if the training was killed', () => {
    const { code, text } = train('import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n');
    expect(code).not.toBe(0);
    expect(text).toContain('killed by SIGKILL');
  });

  once('is never a success for a training that exits with 0 at its time limit', () => {
    const { code, text } = train(
      'import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nprint("up")\ntime.sleep(60)\n',
      '--timeout=2s',
    );
    expect(code).not.toBe(0);
    expect(text).toContain('time limit');
  });

  once('hands arguments over as typed', () => {
    const { code, text, results } = train(
      'import json, sys\nprint("ARGS " + json.dumps(sys.argv[1:]))\n',
      `--args=lr=1e-4 'a b' '$(x)' '{{ssm:y}}' --dash`,
      '--json',
    );
    expect(results).toEqual([expect.objectContaining({ success: true, target: 'remote-train', exitCode: 0 })]);
    expect(text).toContain('ARGS ["lr=1e-4", "a b", "$(x)", "{{ssm:y}}", "--dash"]');
    expect(code).toBe(0);
  });

  it.each([
    ['a script that is not there', ['--script=nope.py'], 'digits/nope.py does not exist'],
    ['an unknown configuration', ['-c', 'nope'], 'no configuration "nope"'],
    ['an unknown option', ['--bogus=1'], '--bogus=1 is not an option of remote-train'],
    ['a duration without a unit', ['--timeout=30'], 'must be a duration with a unit'],
    ['words after --', ['--', '--epochs', '3'], '--args="--epochs 3"'],
  ])('refuses %s and says what to do', (_name, args, message) => {
    const { code, text } = nx('run', 'digits:remote-train', ...args);
    expect(code).not.toBe(0);
    expect(text).toContain(message);
    expect(text).not.toMatch(/\n\s+at .*\.js:\d+/);
  });

  it('detaches at a signal, and finds the run again', async () => {
    write('digits/case.py', 'import time\nprint("begun", flush=True)\ntime.sleep(6)\nprint("ended")\n');
    const nxProcess = spawn('npx', ['nx', 'run', 'digits:remote-train', '--script=case.py', '--outputStyle=stream'], {
      cwd: workspace,
      env: environment,
      detached: true,
    });
    let text = '';
    const seen = new Promise<void>((resolve) => {
      for (const stream of [nxProcess.stdout, nxProcess.stderr]) {
        stream.on('data', (data: Buffer) => {
          text += data;
          if (text.includes('begun')) resolve();
        });
      }
    });
    const ended = new Promise((resolve) => nxProcess.once('close', resolve));
    await seen;
    process.kill(-nxProcess.pid!, 'SIGINT');
    await ended;
    expect(text).toContain('Ctrl+C leaves it running');
    const again = nx('run', 'digits:remote-train', '--script=case.py');
    expect(again.text).toMatch(/attached to|has ended already/);
    expect(again.text).toContain('ended');
    expect(again.code).toBe(0);
  });

  it('detaches within a second of Ctrl+C in a terminal, and the run continues', () => {
    write('digits/case.py', 'import time\nprint("begun", flush=True)\ntime.sleep(8)\nprint("ended")\n');
    const { CI: _, ...own } = environment;
    const program = ['npx', 'nx', 'run', 'digits:remote-train', '--script=case.py', '--rerun'];
    const pressed = () => {
      const done = spawnSync('python3', [join(__dirname, 'terminal.py'), 'begun', '1', ...program], {
        cwd: workspace,
        env: own,
        encoding: 'utf8',
        timeout: 600_000,
      });
      return JSON.parse(done.stdout) as { seconds: number; text: string };
    };
    let left = pressed();
    // Nx itself leaves at once, and may be gone before what we say has come through its pseudo-terminal; on a busy machine all takes longer.
    for (let tries = 1; tries < 5 && !(left.text.includes('Detached') && left.seconds < 1); tries++) left = pressed();
    expect(left.seconds).toBeLessThan(1);
    expect(left.text).toMatch(/Detached: \S+ continues[^]*remote-logs .*--run=/);
    const logs = nx('run', 'digits:remote-logs');
    expect(logs.text).toContain('ended');
    expect(logs.code).toBe(0);
  });

  it.each([
    ["in Nx's default output style leaves it, and nothing has promised more", [], 'running'],
    ['in the style of streams stops it', ['--outputStyle=stream'], 'cancelled'],
  ])('Ctrl+C twice in a terminal %s', (_name, style, ends) => {
    write('digits/case.py', 'import time\nprint("begun", flush=True)\ntime.sleep(120)\n');
    const { CI: _, ...own } = environment;
    const program = ['npx', 'nx', 'run', 'digits:remote-train', '--script=case.py', '--rerun', '--gracePeriod=1s'];
    const pressed = spawnSync(
      'python3',
      [join(__dirname, 'terminal.py'), 'begun', '2', ...program, ...style],
      ...[{ cwd: workspace, env: own, encoding: 'utf8' as const, timeout: 600_000 }],
    );
    const { status, text } = JSON.parse(pressed.stdout) as { status: number; text: string };
    expect(status).not.toBe(0);
    const ID = /\d{8}-\d{6}-digits-[a-z2-7]{6}/;
    const run = `--run=${ID.exec(stripVTControlCharacters(text))![0]}`;
    if (ends === 'cancelled') {
      expect(text).toContain('is asked to stop');
    } else {
      expect(text).toContain('Ctrl+C leaves it running; come back with the same command');
      expect(text).not.toMatch(/twice|Once more|again within/);
      expect(nx('run', 'digits:remote-status', run, '--json').results[0].runs).toMatchObject([{ state: 'running' }]);
      expect(nx('run', 'digits:remote-cancel', run).code).toBe(0);
    }
    const ended = nx('run', 'digits:remote-status', run, '--watch', '--json');
    expect(ended.results[0].runs).toMatchObject([{ outcome: 'cancelled' }]);
  });

  it('draws the runs in place on a terminal, and leaves with 130 at Ctrl+C', () => {
    write('digits/case.py', 'import time\nprint("step 1 | loss 0.5", flush=True)\ntime.sleep(600)\n');
    const [{ run }] = nx('run', 'digits:remote-submit', '--script=case.py', '--rerun', '--json').results;
    const { CI: _, ...own } = environment;
    const program = ['npx', 'nx', 'run', 'digits:remote-status', '--watch', '--interval=1s', '--limit=3'];
    const words = 'the runs continue.\x1b[0K';
    const watched = spawnSync(
      'python3',
      [join(__dirname, 'terminal.py'), words, '1', ...program],
      ...[{ cwd: workspace, env: { ...own, TERM: 'xterm' }, encoding: 'utf8' as const, timeout: 600_000 }],
    );
    const { status, text } = JSON.parse(watched.stdout) as { status: number; text: string };
    // As waitpid says it.
    expect(status >> 8).toBe(130);
    expect(text).toMatch(
      new RegExp(`\\x1b\\[\\?7lRUN [^]*${run}[^]*\\x1b\\[\\?7h[^]*Interrupted. Nothing was changed.`),
    );
    expect(nx('run', 'digits:remote-cancel', `--run=${run}`).code).toBe(0);
  });

  it('shows the log again and refuses to call a cancelled run a success', async () => {
    write('digits/case.py', 'import time\nprint("long", flush=True)\ntime.sleep(120)\n');
    const training = spawn('npx', ['nx', 'run', 'digits:remote-train', '--script=case.py', '--outputStyle=stream'], {
      cwd: workspace,
      env: environment,
    });
    let text = '';
    await new Promise<void>((resolve) => {
      training.stdout.on('data', (data: Buffer) => {
        text += data;
        if (text.includes('long')) resolve();
      });
    });
    const ended = new Promise((resolve) => training.once('close', resolve));
    const cancel = nx('run', 'digits:remote-cancel', '--gracePeriod=1s', '--json');
    expect(cancel.text).toContain('cancelled');
    expect(cancel.results).toEqual([expect.objectContaining({ success: true, outcome: 'cancelled', already: false })]);
    expect(await ended).not.toBe(0);
    const logs = nx('run', 'digits:remote-logs', '--json');
    expect(logs.results).toEqual([expect.objectContaining({ success: false, target: 'remote-logs' })]);
    expect(logs.text).toContain('long');
    expect(logs.code).not.toBe(0);
  });

  once('says with the doctor that all is well', () => {
    const { code, text, results } = nx('run', 'digits:remote-doctor', '--json');
    const checks = expect.arrayContaining([expect.objectContaining({ where: 'instance', name: 'clock', ok: true })]);
    expect(results).toEqual([expect.objectContaining({ success: true, checks })]);
    expect(text).toMatch(/instance\s+ok\s+read from S3/);
    expect(code).toBe(0);
  });

  it('is added by nx add, after which nx report finds no version that does not fit', () => {
    const packageJson = JSON.parse(readFileSync(join(workspace, 'package.json'), 'utf8')) as {
      devDependencies: Record<string, string>;
    };
    const { 'nx-ec2': tarball, ...devDependencies } = packageJson.devDependencies;
    // Files that may be links to those of other workspaces are replaced, not changed.
    for (const path of ['package.json', 'nx.json', 'node_modules/.package-lock.json']) rmSync(join(workspace, path));
    write('package.json', JSON.stringify({ ...packageJson, devDependencies }));
    write('nx.json', '{}');
    environment.npm_config_prefer_offline = 'true';
    const command = (...words: string[]) => {
      const done = spawnSync('npx', ['nx', ...words], { cwd: workspace, env: environment, encoding: 'utf8' });
      return { code: done.status, text: stripVTControlCharacters(done.stdout + done.stderr) };
    };

    const added = command('add', `nx-ec2@${tarball}`);
    expect(added.text).toMatch(/Next:\n {2}npx nx g nx-ec2:aws-setup/);
    expect(added.code).toBe(0);
    const after = JSON.parse(readFileSync(join(workspace, 'package.json'), 'utf8')) as typeof packageJson;
    expect(after.devDependencies).toEqual({ ...devDependencies, 'nx-ec2': expect.stringMatching(/^file:.*\.tgz$/) });
    const report = command('report');
    expect(report.text).toMatch(/Registered Plugins:\nnx-ec2\n/);
    expect(report.text).toMatch(new RegExp(`^nx +: ${version.replaceAll('.', '\\.')}$`, 'm'));
    expect(report.text).not.toMatch(/should match|nx migrate|@nx\/devkit|⚠️/);
    expect(report.code).toBe(0);
  });
});
