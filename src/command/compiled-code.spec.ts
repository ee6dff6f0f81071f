import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Aws } from '../aws/clients';
import { startFixture, type Fixture } from '../local-aws/local-aws.fixture';
import { StoreKeys } from '../store/keys';
import { Store } from '../store/store';
import { CompiledCode } from './compiled-code';
import { Remote } from './remote';
import { parseReply } from './reply';
import type { Request } from './script';

const environment = { ...process.env };
afterAll(() => {
  process.env = environment;
});

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'nx-ec2-code-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

describe('the compiled code that a command names', () => {
  const [a, b] = ['a', 'b'].map((each) => each.repeat(64));
  const runtime = '1'.repeat(64);

  it('is what the instance named last, of this very runtime and root', () => {
    const code = new CompiledCode(directory, '/data');
    expect(code.named(['i-1'], runtime)).toBe(null);
    code.learn('i-1', runtime, { compiled: a });
    code.learn('i-1', runtime, { compiled: b });
    code.learn('i-1', runtime, {});
    expect(code.named(['i-1'], runtime)).toBe(b);
    expect(code.named(['i-1'], '2'.repeat(64))).toBe(null);
    expect(new CompiledCode(directory, undefined).named(['i-1'], runtime)).toBe(null);
  });

  it('is the same for all instances of a command, or none', () => {
    const code = new CompiledCode(directory, undefined);
    code.learn('i-1', runtime, { compiled: a });
    expect(code.named(['i-1', 'i-2'], runtime)).toBe(null);
    code.learn('i-2', runtime, { compiled: a });
    expect(code.named(['i-1', 'i-2'], runtime)).toBe(a);
    code.learn('i-2', runtime, { compiled: b });
    expect(code.named(['i-1', 'i-2'], runtime)).toBe(undefined);
  });

  it.each(['../../x', 'A'.repeat(64), `${'a'.repeat(64)}\n`, '', 1, null, ['a'.repeat(64)]])(
    'is never %j, whether a reply or the cache says so',
    (compiled) => {
      const code = new CompiledCode(directory, undefined);
      code.learn('i-1', runtime, { compiled });
      expect(readdirSync(directory)).toEqual([]);
      code.learn('i-1', runtime, { compiled: a });
      for (const text of [JSON.stringify({ v: 1, runtime, compiled }), '{', ''])
        for (const name of readdirSync(directory)) {
          writeFileSync(join(directory, name), text);
          expect(code.named(['i-1'], runtime)).toBe(null);
        }
    },
  );

  it('is not asked for where nothing is remembered', () => {
    const code = new CompiledCode(undefined, undefined);
    code.learn('i-1', runtime, { compiled: a });
    expect(code.named(['i-1'], runtime)).toBe(undefined);
  });
});

describe('an instance', () => {
  let at: Fixture;
  let aws: Aws;
  beforeAll(async () => {
    at = await startFixture();
    Object.assign(process.env, at.aws.environment);
    aws = new Aws({ region: 'eu-west-1' });
  });
  afterAll(async () => {
    aws.close();
    await at.close();
  });

  it('keeps the code that it has compiled, and runs it if the next command names it', async () => {
    const box = at.aws.named.get('box')!.id;
    const kept = () =>
      readdirSync(at.aws.instances.disk(box), { recursive: true, encoding: 'utf8' }).filter((name) =>
        name.endsWith('.code'),
      );
    /** What a command names, and what its reply does. */
    const send = async () => {
      const remote = new Remote({
        aws,
        store: new Store(aws, { bucket: 'bucket' }),
        keys: new StoreKeys('', 'model'),
        instance: box,
        codeDirectory: directory,
        assertInstanceExists: async () => undefined,
      });
      await remote.send({ op: 'activity', watchdog: false }, { comment: 'test' });
      const { script, stdout } = at.aws.commands.at(-1)!;
      const [, line] = /<<'NX_EC2_REQUEST'\n(.*)\n/.exec(script)!;
      const request = JSON.parse(Buffer.from(line, 'base64').toString()) as Request;
      return [request.compiled, (parseReply(stdout) as { compiled?: string }).compiled];
    };
    const [named, hash] = await send();
    expect([named, hash]).toEqual([null, expect.stringMatching(/^[0-9a-f]{64}$/)]);
    const [file, ...more] = kept();
    expect([basename(file), more]).toEqual([`${hash}.code`, []]);
    // Nothing was compiled, or it would have been kept again.
    expect(await send()).toEqual([hash, undefined]);
    rmSync(join(at.aws.instances.disk(box), file));
    const [before, after] = await send();
    expect(before).toBe(hash);
    expect(kept().map((name) => basename(name))).toEqual([`${after}.code`]);
    expect(await send()).toEqual([after, undefined]);
  });
});
