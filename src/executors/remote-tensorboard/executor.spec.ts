import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { until } from '../../system/until.fixture';
import { Workshop } from '../lib/executor-harness.fixture';

/** Stands for TensorBoard: answers with the names and texts of all event files below its directory. */
const TENSORBOARD = `#!/usr/bin/env python3
import http.server, os, sys
options = dict(each[2:].split("=", 1) for each in sys.argv[1:])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        lines = []
        for at, _, names in sorted(os.walk(options["logdir"])):
            for name in sorted(names):
                lines.append("%s: %s" % (os.path.relpath(os.path.join(at, name)), open(os.path.join(at, name)).read()))
        body = "\\n".join(lines).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.HTTPServer((options["host"], int(options["port"])), Handler).serve_forever()
`;
const TRAINING = `
import os, sys
os.makedirs("artifacts/tb", exist_ok=True)
if sys.argv[1] != "none":
    open("artifacts/tb/events.out.tfevents.1", "w").write("of " + sys.argv[1])
open("artifacts/model", "w").write("a model")
`;

describe('remote-tensorboard, of runs whose instance is gone', () => {
  let shop: Workshop;
  const bin = mkdtempSync(join(tmpdir(), 'nx-ec2-bin-'));
  const path = process.env.PATH!;
  const runs: string[] = [];
  beforeAll(async () => {
    writeFileSync(join(bin, 'tensorboard'), TENSORBOARD);
    chmodSync(join(bin, 'tensorboard'), 0o755);
    shop = await Workshop.open();
    shop.write('model/train.py', TRAINING);
    for (const args of ['one', 'two', 'none']) {
      const { run } = await shop.run<{ run: string }>('remote-train', {
        train: { script: 'train.py', environment: 'none' },
        args,
      });
      runs.push(run);
    }
    shop.at.aws.instances.change(shop.at.aws.named.get('box')!, 'terminated');
  });
  beforeEach(() => (process.env.PATH = [bin, path].join(delimiter)));
  afterEach(() => (process.env.PATH = path));
  afterAll(async () => {
    await shop.close();
    rmSync(bin, { recursive: true });
  });

  const left = () => readdirSync(tmpdir()).filter((name) => name.startsWith('nx-ec2-tensorboard-'));
  /** What is shown; then Ctrl+C. */
  const shown = async (options: object): Promise<string> => {
    const address = /TensorBoard: (http:\/\/127\.0\.0\.1:\d+\/)/;
    const work = shop.run('remote-tensorboard', options).catch(({ message }: Error) => message);
    const ended = work.then((message) => {
      throw new Error(String(message));
    });
    await Promise.race([shop.says(address), ended]);
    ended.catch(() => undefined);
    const [, url] = address.exec(shop.printed)!;
    const text = await (await fetch(url)).text();
    process.emit('SIGINT');
    expect(await work).toContain('DETACHED');
    await until(() =>
      fetch(url).then(
        () => false,
        () => true,
      ),
    );
    return text;
  };

  it('shows the event files that a run has saved, and nothing else, and leaves nothing behind', async () => {
    const before = left();
    expect(await shown({ run: runs[0] })).toBe(`${runs[0]}/artifacts/tb/events.out.tfevents.1: of one`);
    await until(() => left().length === before.length);
  });

  it('shows several runs beside one another, and names one that has none', async () => {
    const text = await shown({ run: runs.join(',') });
    expect(text.split('\n')).toEqual([
      `${runs[0]}/artifacts/tb/events.out.tfevents.1: of one`,
      `${runs[1]}/artifacts/tb/events.out.tfevents.1: of two`,
    ]);
    expect(shop.printed).toContain(`${runs[2]} has no event files in the store.`);
  });

  it('takes another port where its own is in use, unless that was named', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => taken.once('listening', resolve));
    const { port } = taken.address() as { port: number };
    await expect(shop.run('remote-tensorboard', { run: runs[0], port })).rejects.toThrow('PORT_IN_USE');
    taken.close();
  });

  it('says what is missing', async () => {
    await expect(shop.run('remote-tensorboard', { run: runs[2] })).rejects.toThrow('NOTHING_TO_PULL');
    const both = { run: `${runs[0]},${runs[1]}`, node: 1 };
    await expect(shop.run('remote-tensorboard', both)).rejects.toThrow('OPTION_INVALID');
    const without = join(bin, 'empty');
    mkdirSync(without);
    process.env.PATH = without;
    await expect(shop.run('remote-tensorboard', { run: runs[0] })).rejects.toThrow(/PROGRAM_MISSING.*uv tool install/s);
  });

  it('tells the last words of a TensorBoard that ends', async () => {
    writeFileSync(join(bin, 'tensorboard'), '#!/bin/sh\necho "no module named \\033[31mgrpc"\nexit 4\n');
    await expect(shop.run('remote-tensorboard', { run: runs[0] })).rejects.toThrow(
      /TOOL_FAILED.*exit code 4.*no module named grpc/s,
    );
  });
});
