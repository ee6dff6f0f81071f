import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { resolveConfiguration } from './configuration';
import type { LaunchSpec } from './schema/launch-spec';
import { policyAllows } from './policy-schema';
import { splitCommand, splitWords } from './syntax/words';
import type { TargetName } from './schema/executor-options';

const root = mkdtempSync(join(tmpdir(), 'nx-ec2-config-'));
const outside = mkdtempSync(join(tmpdir(), 'nx-ec2-policy-'));
mkdirSync(join(root, 'model'));
afterAll(() => [root, outside].forEach((each) => rmSync(each, { recursive: true })));

function resolve(
  file: object | string,
  options: Record<string, unknown> = {},
  plugin: object = {},
  environment: NodeJS.ProcessEnv = {},
) {
  writeFileSync(join(root, 'model/ec2.config.json'), typeof file === 'string' ? file : JSON.stringify(file));
  return resolveConfiguration({
    workspaceRoot: root,
    projectName: 'model',
    projectRoot: 'model',
    nxJson: { plugins: [{ plugin: 'nx-ec2', options: plugin }] },
    options,
    target: 'remote-train',
    environment,
  });
}

const base = { bucket: 'acme-training', instance: 'gpu', train: { script: 'train.py' } };

describe('resolveConfiguration', () => {
  it('uses the command line before the file, and the file before nx.json', () => {
    const { region, bucket, train } = resolve(
      { ...base, region: 'b' },
      { region: 'c', args: '--x 1' },
      { region: 'a', bucket: 'other-bucket' },
    );
    expect({ region, bucket, args: train.args }).toEqual({ region: 'c', bucket: 'acme-training', args: ['--x', '1'] });
  });

  it('reads durations and sizes with units', () => {
    const { train } = resolve({ ...base, train: { script: 'a.py', timeout: '8h', maxArtifactSize: '2GB' } });
    expect([train.timeout, train.maxArtifactSize, train.gracePeriod]).toEqual([8 * 3600_000, 2 * 1024 ** 3, 30_000]);
  });

  it('accepts numbers and booleans as values of variables', () => {
    const { env } = resolve({ ...base, train: { script: 'a.py', env: { EPOCHS: 3, AMP: true } } }).train;
    expect(env).toEqual({ EPOCHS: '3', AMP: 'true' });
  });

  it('takes no variable with a NUL character, which no process can have', () => {
    expect(() => resolve({ ...base, train: { script: 'a.py', env: { A: 'x\0y' } } })).toThrow(
      /train\.env\.A: must not contain a NUL character/,
    );
  });

  it.each([
    'ssm:arn:aws:ssm:evil.example/x:123456789012:parameter/name',
    'ssm:arn:aws:ssm:eu-west-1@evil.example:1:parameter/name',
    'secretsmanager:arn:aws:secretsmanager::123456789012:secret:name',
    'ssm:arn:aws:ssm',
  ])('rejects an ARN of a secret without the id of a region: %s', (source) => {
    expect(() => resolve({ ...base, train: { script: 'a', secrets: { TOKEN: source } } })).toThrow(
      /train\.secrets\.TOKEN.* must have the id of a region in its ARN/,
    );
  });

  it.each([
    'ssm:/nx-ec2-callers/acme/secret',
    'ssm:/nx-ec2-callers/acme/team/secret:1',
    'ssm:arn:aws:ssm:eu-west-1:123456789012:parameter/nx-ec2-callers/acme/secret',
  ])('never passes the secret that signs run records to a training: %s', (source) => {
    expect(() => resolve({ ...base, train: { script: 'a', secrets: { TOKEN: source } } })).toThrow(
      /train\.secrets\.TOKEN: must not be a parameter below \/nx-ec2-callers\//,
    );
  });

  it('passes other secrets to a training, whatever their names are', () => {
    const named = {
      TOKEN: 'ssm:/nx-ec2/callers',
      OTHER: 'secretsmanager:nx-ec2-callers/x',
      BY_ARN: 'secretsmanager:arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:a-AbCdEf#key',
    };
    expect(resolve({ ...base, train: { script: 'a', secrets: named } }).train.secrets).toEqual(named);
  });

  it.each(['team-a/../team-b', '..', 'a/./b', './'])('refuses a prefix with dots that lead out of it: %s', (prefix) => {
    expect(() => resolve({ ...base, prefix })).toThrow(/prefix: may not hold "\."/);
  });

  it('accepts a prefix with dots in a name', () => {
    expect(resolve({ ...base, prefix: 'team.a/..b/c..' }).prefix).toBe('team.a/..b/c..');
  });

  it('shows no value that may be confidential', () => {
    expect(() => resolve({ ...base, train: { script: 'a', secrets: { TOKEN: 'hf_abc' } } })).toThrow(
      /^(?![^]*hf_abc)[^]*train\.secrets\.TOKEN: must be/,
    );
  });

  it('accepts a number that Nx made of an argument', () => {
    expect(resolve(base, { args: 0.1 }).train.args).toEqual(['0.1']);
  });

  it.each([
    [
      'a misspelled key',
      { ...base, bukket: 'x' },
      /model\/ec2\.config\.json[^]*bukket: unknown; did you mean "bucket"\?/,
    ],
    ['a misspelled key of train', { ...base, train: { scrpt: 'a' } }, /train\.scrpt: unknown; did you mean "script"\?/],
    ['an unknown key', { ...base, qqqqqq: 'x' }, /model\/ec2\.config\.json[^]*qqqqqq: unknown; allowed are/],
    ['a key of train at the top', { ...base, script: 'a' }, /script: unknown here; write it inside "train"/],
    ['a time limit in unknown units', { ...base, train: { timeout: '8 hrs x' } }, /with a unit: .*; it is "8 hrs x"/],
    ['a time limit without a unit', { ...base, train: { timeout: 8 } }, /train\.timeout: .* with a unit: .*; it is 8/],
    ['a size without a unit', { ...base, train: { memory: '16' } }, /train\.memory: .* with a unit: .*; it is "16"/],
    [
      'one output that is no list',
      { ...base, train: { outputs: 'out/' } },
      /outputs: must be a list: write \["out\/"\]/,
    ],
    [
      'a list of checkpoints',
      { ...base, train: { checkpoints: ['a.pt'] } },
      /checkpoints: must be an object: write \{ "paths": \["a\.pt"\] \}/,
    ],
    ['an s3 URL for a bucket', { ...base, bucket: 's3://acme' }, /bucket: must be the name alone, without s3:/],
    ["a region's name", { ...base, region: 'Ireland' }, /region: must be the id of a region, .*; it is "Ireland"/],
    [
      'a word for a choice',
      { ...base, instance: { type: 't3.micro', spot: 'maybe' } },
      /instance\.spot: must be true or false or "or-on-demand"; it is "maybe"/,
    ],
    [
      'a text for a number',
      { ...base, instance: { type: 't3.micro', maxCost: '5usd' } },
      /instance\.maxCost: must be a number without quotes; it is "5usd"/,
    ],
    [
      'a wrong instance id',
      { ...base, instance: 'i-xyz' },
      /"i-xyz" is not an instance id[^]*\n {2}model\/ec2\.config\.json: instance: "i-xyz"$/,
    ],
    ['an unknown key of train', { ...base, train: { script: 'a', epochs: 3 } }, /train\.epochs: unknown; allowed are/],
    [
      'a key of another name',
      { ...base, train: { script: 'a', outputDir: 'x', epochs: 3 } },
      /train\.outputDir: unknown; .*"outputs"[^]*train\.epochs: unknown; allowed/,
    ],
    ['a wrong type', { ...base, sync: { include: 'x' } }, /sync\.include/],
    ['a number for a duration', { ...base, train: { script: 'a', timeout: '30' } }, /with a unit/],
    ['a missing bucket', { instance: 'gpu', train: base.train }, /"bucket" is not set for model/],
    ['a missing script', { bucket: 'acme-training', instance: 'gpu' }, /"train\.script" is not set/],
    ['a script outside', { ...base, train: { script: '../x.py' } }, /not inside the project/],
    [
      'an output outside',
      { ...base, train: { script: 'a', outputs: ['../x'] } },
      /train\.outputs: \.\.\/x is not inside the project/,
    ],
    [
      'a path of checkpoints outside',
      { ...base, train: { script: 'a', checkpoints: { paths: ['../x'] } } },
      /train\.checkpoints\.paths: \.\.\/x is not inside the project/,
    ],
    ['an output that is everything', { ...base, train: { script: 'a', outputs: ['**'] } }, /is the whole project/],
    ['an unclosed quotation', { ...base, train: { script: 'a', args: "'x" } }, /can't be split/],
    ['a shell in setup', { ...base, train: { script: 'a', setup: 'uv sync && make' } }, /bash -c 'uv sync && make'/],
  ])('refuses %s', (_name, file, message) => {
    expect(() => resolve(file)).toThrow(message);
  });

  it('refuses an option that the target does not have, and names those that it has', () => {
    expect(() => resolve(base, { qqqqqq: 'x' })).toThrow(
      /options of model:remote-train:\n {2}qqqqqq: unknown; allowed are script, command, args, .*dryRun, .*region/,
    );
    const target = (name: TargetName, options: Record<string, unknown>) => () =>
      resolveConfiguration({
        workspaceRoot: root,
        projectName: 'model',
        projectRoot: 'model',
        nxJson: {},
        options: { bucket: 'acme-training', instance: 'gpu', ...options },
        target: name,
      });
    expect(target('remote-cancel', { gracePeriod: '1m' })().train.gracePeriod).toBe(60_000);
    expect(target('remote-sync', { gracePeriod: '1m' })).toThrow(
      /gracePeriod: unknown; allowed are dryRun, force, verbose, json, region/,
    );
  });

  it('accepts several instances only for targets that send files', () => {
    const several = {
      ...base,
      instance: ['i-0123456789abcdef0', { name: 'gpu' }, { tag: { Team: 'vision' }, all: true }],
    };
    expect(() => resolve(several)).toThrow(/several instances, but remote-train takes one/);
    expect(() => resolve({ ...base, instance: { tag: { Team: 'vision' }, all: true } })).toThrow(/takes one/);
    const forSync = (file: object, environment: NodeJS.ProcessEnv = {}) => {
      writeFileSync(join(root, 'model/ec2.config.json'), JSON.stringify(file));
      return resolveConfiguration({
        workspaceRoot: root,
        projectName: 'model',
        projectRoot: 'model',
        nxJson: {},
        options: {},
        target: 'remote-sync',
        environment,
      });
    };
    expect(forSync(several).instance).toMatchObject({ id: 'i-0123456789abcdef0' });
    expect(forSync(several).instances).toEqual([
      { id: 'i-0123456789abcdef0' },
      { name: 'gpu' },
      { tag: { Team: 'vision' }, all: true },
    ]);
    // A policy holds for each of them.
    const policy = join(outside, 'instances.json');
    writeFileSync(policy, JSON.stringify({ instances: ['gpu'] }));
    expect(() => forSync({ ...base, instance: ['gpu', 'other'] }, { NX_EC2_POLICY: policy })).toThrow(
      /does not allow "instance": "other"/,
    );
  });

  describe('a launch spec', () => {
    const resolved = (instance: object, options: Record<string, unknown> = {}, plugin: object = {}) =>
      resolve({ ...base, instance }, options, plugin).instance as { launchSpec: LaunchSpec; startupTimeout: number };

    it('has defaults that terminate the instance by themselves', () => {
      const { launchSpec: it, startupTimeout } = resolved({ type: 't3.micro' });
      expect(it).toMatchObject({
        types: ['t3.micro'],
        ami: 'auto',
        spot: false,
        publicIp: false,
        maxLifetime: 86_400_000,
        idleTimeout: 3_600_000,
        shutdown: 'terminate',
        recovery: 'none',
        onFinish: { success: 0, failure: 30 * 60_000 },
      });
      expect(startupTimeout).toBe(600_000);
    });

    it('of a pool has one member by default, an idle timeout of 15 minutes and recovery for spot alone', () => {
      const { launchSpec: it } = resolved({ type: 't3.micro', pool: 'gpu', spot: true });
      expect(it).toMatchObject({ pool: { name: 'gpu', size: 1 }, idleTimeout: 900_000, recovery: 'client' });
      expect(resolved({ type: 't3.micro', pool: 'gpu', size: 3, idleTimeout: '1h' }).launchSpec).toMatchObject({
        pool: { name: 'gpu', size: 3 },
        idleTimeout: 3_600_000,
        recovery: 'none',
      });
    });

    it('of a pool gives a run a member to itself, unless the run says what it reserves', () => {
      const reserves = (resources: object, pool?: string) =>
        resolve({ ...base, instance: { type: 't3.micro', pool }, train: { script: 'train.py', resources } }).train
          .resources;
      expect(reserves({}, 'gpu')).toEqual({ exclusive: true, gpus: 0 });
      expect(reserves({ gpus: 2 }, 'gpu')).toEqual({ exclusive: false, gpus: 2 });
      expect(reserves({ exclusive: false }, 'gpu')).toEqual({ exclusive: false, gpus: 0 });
      expect(reserves({})).toEqual({ exclusive: false, gpus: 0 });
    });

    it('is merged from several places, unless one of them names an existing instance', () => {
      const low = { type: ['g5.xlarge', 'g4dn.xlarge'], onFinish: { failure: 'terminate' } };
      const high = { spot: true, onFinish: { success: 'keep 5m' } };
      expect(resolved(low, { instance: high }, { instance: { maxLifetime: '2h' } }).launchSpec).toMatchObject({
        types: low.type,
        spot: true,
        recovery: 'client',
        maxLifetime: 7_200_000,
        onFinish: { success: 300_000, failure: 0 },
      });
      expect(resolved(low, { instance: { name: 'gpu' } })).toEqual({ name: 'gpu', startupTimeout: 300_000 });
      expect(resolved(low, { instance: 'i-0123456789abcdef0' })).toMatchObject({ id: 'i-0123456789abcdef0' });
    });

    it.each([
      [
        'stopping a one-time spot instance',
        { spot: true, onFinish: { success: 'stop' } },
        /spot instance can't be stopped/,
      ],
      [
        'both ends',
        { onFinish: { success: 'stop', failure: 'terminate' } },
        /"stop" and "terminate" exclude each other/,
      ],
      ['recovery without spot', { recovery: 'fleet' }, /needs a spot instance: set "spot"/],
      ['a fleet that may take on-demand', { spot: 'or-on-demand', recovery: 'fleet' }, /"spot" must be true/],
      [
        'a fleet that is kept',
        { spot: true, recovery: 'fleet', onFinish: { failure: 'keep' } },
        /only kept for a limited time/,
      ],
      [
        'a time without a unit',
        { onFinish: { failure: 'keep 30' } },
        /instance\.onFinish\.failure: must be "terminate"/,
      ],
      ['a time in a unit that is none', { onFinish: { failure: 'keep 3 moons' } }, /"keep 3 moons" has no duration/],
      ['an unknown key', { disk: 'large' }, /instance\.disk: unknown; allowed are type, pool/],
      ['a size without a pool', { size: 2 }, /instance\.size: it is the size of a pool/],
      ['a pool without members', { pool: 'gpu', size: 0 }, /instance\.size: /],
      ['a pool of too many', { pool: 'gpu', size: 65 }, /instance\.size: /],
      ['a name that is no word', { pool: 'GPU pool' }, /instance\.pool: must be 1 to 32 of/],
      [
        'a pool and a fleet',
        { pool: 'gpu', spot: true, recovery: 'fleet' },
        /"fleet" replaces the instance of one run/,
      ],
      ['recovery of a pool without spot', { pool: 'gpu', recovery: 'client' }, /needs a spot instance/],
      [
        'a pool that ends with a run',
        { pool: 'gpu', onFinish: { success: 'stop' } },
        /stays for other runs after a run/,
      ],
      ['a pool in a reservation', { pool: 'gpu', capacityReservation: 'cr-0123456789abcdef0' }, /into a reservation/],
      ['a wrong type', { type: 'large' }, /instance\.type: /],
      ['both kinds', { id: 'i-0123456789abcdef0', spot: true }, /instance\.spot: unknown/],
    ])('is refused: %s', (_, wrong, message) => {
      expect(() => resolved({ ...('id' in wrong ? {} : { type: 't3.micro' }), ...wrong })).toThrow(message);
    });

    it('is refused without a type, with the place where the type belongs', () => {
      expect(() => resolved({ spot: true })).toThrow(/"instance\.type" is not set for model/);
    });
  });

  it('may have a byte order mark, comments and trailing commas, as files of Nx may', () => {
    const text =
      '\ufeff{\r\n  // the store\r\n  "bucket": "bucket", "instance": "box",\r\n  "train": { "script": "train.py", /* none */ "args": ["a",], },\r\n}\r\n';
    expect(resolve(text).train).toMatchObject({ script: 'train.py', args: ['a'] });
  });

  it('says where the syntax is wrong', () => {
    expect(() => resolve('{ "a": }')).toThrow(/model\/ec2\.config\.json is not valid JSON: .* at 1:8/);
    expect(() => resolve('')).toThrow(/model\/ec2\.config\.json is empty/);
    expect(() => resolve('[]')).toThrow(/model\/ec2\.config\.json must hold one object/);
  });
});

describe('a policy outside the repository', () => {
  const policy = (value: object, where = outside) => {
    writeFileSync(join(where, 'policy.json'), JSON.stringify(value));
    return { NX_EC2_POLICY: join(where, 'policy.json') };
  };

  it('forbids what it does not list', () => {
    expect(() => resolve(base, {}, {}, policy({ buckets: ['other-*'] }))).toThrow(/does not allow "bucket"/);
    expect(() => resolve({ ...base, profile: 'admin' }, {}, {}, policy({ profiles: [] }))).toThrow(
      /does not allow "profile"/,
    );
    expect(() => resolve({ ...base, roleArn: 'arn:aws:iam::1:role/x' }, {}, {}, policy({ roles: [] }))).toThrow(
      /"roleArn"/,
    );
    expect(resolve(base, {}, {}, policy({ buckets: ['acme-*'] })).bucket).toBe('acme-training');
  });

  it('limits which instances may be launched', () => {
    const type = (limits: object, type: string | string[]) => () =>
      resolve({ ...base, instance: { type } }, {}, {}, policy(limits));
    expect(type({ instanceTypes: ['t3.*'] }, 't3.micro')).not.toThrow();
    expect(type({ instanceTypes: ['t3.*'] }, ['t3.micro', 'p4d.24xlarge'])).toThrow(
      /"instance\.type": "p4d\.24xlarge"/,
    );
    // Who lists the instances that may be used has not said that others may be made.
    expect(type({ instances: ['i-*'] }, 't3.micro')).toThrow(/does not allow "instance\.type"/);
    expect(type({ instanceProfiles: ['x'] }, 't3.micro')).not.toThrow();
  });

  it('is ignored if it is in the workspace', () => {
    expect(() => resolve(base, {}, {}, policy({}, root))).toThrow(/inside the workspace/);
  });

  it('prevents .env files from being sent, as CI does', () => {
    const file = { ...base, sync: { include: ['.env.local'] } };
    expect(() => resolve(file, {}, {}, policy({}))).toThrow(/not sent/);
    expect(() => resolve(file, {}, {}, { CI: 'true' })).toThrow(/not sent in CI/);
    expect(resolve(file, {}, {}, policy({ envFiles: true })).sync.include).toEqual(['.env.local']);
  });

  it.each(['.env/', './.env/.', '{workspaceRoot}/.ENV', '.env.d/secret', 'a/.env*'])(
    'prevents .env files from being sent, in any spelling: %s',
    (spelled) => {
      const file = { ...base, sync: { include: [spelled] } };
      expect(() => resolve(file, {}, {}, policy({}))).toThrow(/not sent/);
      expect(() => resolve(file, {}, {}, { CI: 'true' })).toThrow(/not sent/);
    },
  );

  it('matches whole values, with * as the only wildcard', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (pattern, value) => {
        fc.pre(!pattern.includes('*'));
        expect(policyAllows([pattern], value)).toBe(pattern === value);
      }),
    );
    expect(policyAllows(['a*'], 'ab\nc')).toBe(true);
    expect(policyAllows(['a*'], 'ba')).toBe(false);
  });
});

describe('words', () => {
  const nasty = fc.string({
    unit: fc.constantFrom('a', '-', '\\', '"', "'", '$', ' ', '\t', '#', '`', '\u00e9', '\u00a0', '\n'),
  });

  it('are read back as they were quoted, in every style', () => {
    const styles = [
      (word: string) => `'${word.replace(/'/g, `'\\''`)}'`,
      (word: string) => `'${word.replace(/'/g, `'"'"'`)}'`,
      (word: string) => `"${word.replace(/[\\"$`]/g, '\\$&')}"`,
    ];
    for (const quote of styles) {
      fc.assert(
        fc.property(fc.array(fc.oneof(nasty, fc.string({ unit: 'binary' }))), (words) => {
          expect(splitWords(words.map(quote).join(' '), 'args')).toEqual(words);
        }),
        { numRuns: 1000 },
      );
    }
  });

  it("are split as Python's shlex splits any line, including errors", () => {
    // Inside double quotes a shell unescapes $ and \` too, Python does not.
    const lines = fc.sample(nasty, { numRuns: 3000, seed: 1 }).filter((line) => !/\\[$`]/.test(line));
    const program = `import json, shlex, sys
def split(line):
    try: return shlex.split(line)
    except ValueError: return None
print(json.dumps([split(line) for line in json.load(sys.stdin)]))`;
    const expected = JSON.parse(
      execFileSync('python3', ['-c', program], { input: JSON.stringify(lines), encoding: 'utf8' }),
    ) as (string[] | null)[];
    const ours = lines.map((line) => {
      try {
        return splitWords(line, 'args');
      } catch {
        return null;
      }
    });
    lines.forEach((line, index) => {
      expect({ line, words: ours[index] }).toEqual({ line, words: expected[index] });
    });
  });

  it('of a command may hold quoted operators', () => {
    expect(splitCommand(`bash -c 'a && b | c > d'`, 'setup')).toEqual(['bash', '-c', 'a && b | c > d']);
  });
});
