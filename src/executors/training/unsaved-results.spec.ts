import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { listed } from '../../run/pipeline.fixture';
import { Workshop } from '../lib/executor-harness.fixture';

// Node resolves the name of the built file.
jest.mock('./start-on-launched-instance.js', () => jest.requireActual('./start-on-launched-instance'), {
  virtual: true,
});

// An instance that was launched for a training ends at once after a success: not if it alone has a result.
describe('The results of a training that succeeded, as far as they can not be saved,', () => {
  let shop: Workshop;
  beforeAll(async () => {
    shop = await Workshop.open();
  });
  afterAll(() => shop.close());

  const launched = (test: string) => shop.at.aws.instances.all().filter(({ tags }) => tags.test === test);
  const read = (path: string) => readFileSync(join(shop.workspace, 'model', path), 'utf8');
  const instance = (test: string, onFinish?: object) => ({
    type: 'm5.large',
    instanceProfile: 'training',
    tags: { test },
    onFinish,
  });
  const train = (test: string, lines: string[], given: { train?: object; onFinish?: object } = {}) => {
    shop.write('model/train.py', [`# ${test}`, 'import os', 'os.makedirs("out", exist_ok=True)', ...lines].join('\n'));
    return shop.run('remote-train', {
      instance: instance(test, given.onFinish),
      train: { script: 'train.py', environment: 'none', outputs: ['out/'], ...given.train },
      cache: true,
    });
  };
  // No other test is to use what this one kept.
  const takeDown = (test: string) => shop.run('remote-down', { instance: instance(test) });
  const message = (training: Promise<unknown>) =>
    training.then(
      () => '',
      ({ message }: Error) => message,
    );
  const SMALL_AND_BIG = ['open("out/small", "w").write("small")', 'open("out/model.bin", "w").write("m" * 3000)'];

  it('stay on the instance, which is kept as after a failure; what the limit allows comes back', async () => {
    const said = await message(train('bytes', SMALL_AND_BIG, { train: { maxArtifactSize: '2KB' } }));
    const [{ id, state }] = launched('bytes');
    expect(state).toBe('running');
    expect(said).toContain('but outputs of it could not be saved: out/model.bin (over the limit).');
    expect(said).toMatch(
      new RegExp(`They are on ${id} in /\\S+ as long as that instance exists\\. .*remote-shell .*--run=\\d`),
    );
    expect(said).toMatch(/raise "train\.maxArtifactSize"/);
    expect(said).toMatch(/To train again: .*remote-train .*--rerun/);
    expect(shop.printed).toMatch(
      new RegExp(
        `${id} is kept for 30m 00s, until \\d\\d:\\d\\d, because it has files that could not be saved, and then terminated\\.`,
      ),
    );
    expect(read('out/small')).toBe('small');
    // The same command says the same, and costs no other training.
    expect(await message(train('bytes', SMALL_AND_BIG, { train: { maxArtifactSize: '2KB' } }))).toContain(
      'out/model.bin (over the limit)',
    );
    expect(launched('bytes')).toHaveLength(1);
    await takeDown('bytes');
  });

  it('are tried again as long as the store refuses them, and the command says why', async () => {
    const error = { code: 'AccessDenied', message: 'not allowed to use the key', status: 403 };
    shop.at.aws.faults.add({ service: 's3', link: 'instance', action: 'PUT', path: '/part/', times: 3, error });
    await train('refused', ['open("out/model.bin", "wb").write(os.urandom(3000))']);
    expect(shop.printed).toMatch(
      /files can't be saved: .*AccessDenied: not allowed to use the key\nIt is tried again\.\n/,
    );
    expect(shop.printed).toMatch(/What could not be saved is saved now\.\n/);
    expect(launched('refused').map(({ state }) => state)).toEqual(['terminated']);
  });

  it('end with the instance if it is configured so', async () => {
    const given = { train: { maxArtifactSize: '2KB' }, onFinish: { failure: 'terminate' } };
    expect(await message(train('terminate', SMALL_AND_BIG, given))).toContain('out/model.bin');
    expect(launched('terminate').map(({ state }) => state)).toEqual(['terminated']);
  });

  it('keep it outside the outputs as well, and the message promises none that are not saved', async () => {
    const lines = ['os.makedirs("real")', 'open("real/model.bin", "w").write("m" * 3000)'];
    const said = await message(train('extra', lines, { train: { extraLimit: '2KB' } }));
    expect(said).toMatch(/wrote none of its 1 file to an output/);
    expect(said).not.toContain('without another training');
    expect(said).toMatch(/To train again: .*remote-train .*--rerun/);
    expect(shop.printed).toMatch(/1 file outside its outputs that was not saved \(over the limit\)/);
    expect(shop.printed).toMatch(/raise "train\.extraLimit"/);
    expect(launched('extra').map(({ state }) => state)).toEqual(['running']);
    await takeDown('extra');
  });

  it('fail the target, also those whose names can not be kept; a link comes back as a copy of its file', async () => {
    const scratch = join(shop.memory, 'weights.bin');
    const lines = [
      'open("out/metrics.json", "w").write("{}")',
      `open(${JSON.stringify(scratch)}, "w").write("weights")`,
      `os.symlink(${JSON.stringify(scratch)}, "out/weights.bin")`,
    ];
    await train('link', lines);
    expect(read('out/weights.bin')).toBe('weights');
    expect(launched('link').map(({ state }) => state)).toEqual(['terminated']);

    const said = await message(
      train('name', [
        ...lines.slice(0, 1),
        'open(b"out/mod\\xe8le.bin", "w").write("model")',
        'os.mkfifo("out/pipe")',
        `os.symlink(${JSON.stringify(shop.memory)}, "out/ckpts")`,
      ]),
    );
    expect(said).toContain('out/mod?le.bin (its name is not UTF-8)');
    expect(said).toContain('out/ckpts (a symbolic link to a directory outside the outputs)');
    expect(/^error: .*$/m.exec(said)![0]).not.toContain('out/pipe');
    expect(shop.printed).toContain('out/pipe (a special file)');
    expect(launched('name').map(({ state }) => state)).toEqual(['running']);
    expect(listed(join(shop.workspace, 'model/out'))).toContain('metrics.json');
  });
});
