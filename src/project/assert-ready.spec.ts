import type { EnvironmentTool, ReadyReply } from '../command/plan';
import { assertReady, assertVolume } from './assert-ready';
import type { EnvironmentNeeds } from './environment-needs';
import type { InstanceContext } from '../context/types';

const GB = 1024 ** 3;
const UV: EnvironmentTool = { manager: 'uv', installer: 'auto', locked: true, packageIndex: null, packageIndexes: [] };

function needs(tool: Partial<EnvironmentTool>, least?: number, most = least): EnvironmentNeeds {
  return { tool: { ...UV, ...tool }, download: least === undefined ? null : { least: least * GB, most: most! * GB } };
}

function context(reply: Partial<ReadyReply>, env: Record<string, string> = {}) {
  const sent: unknown[] = [];
  const said: string[] = [];
  const send = (...words: unknown[]) => {
    sent.push(words);
    return Promise.resolve({ missing: null, free: 100 * GB, ...reply });
  };
  const whole = {
    instances: ['i-1', 'i-2'],
    at: () => ({ remote: { send } }),
    printer: { warn: (text: string) => said.push(text) },
    configuration: { train: { env } },
  } as unknown as InstanceContext;
  return { sent, said, whole };
}

describe('the check of an instance before the files of a training are sent', () => {
  const missing = { tool: 'conda', why: 'not on the PATH of ubuntu', fix: 'conda: use an AMI that has it' };

  it('asks each instance for the tool of the environment, and names the one that lacks it', async () => {
    const { sent, whole } = context({ missing });
    await expect(assertReady(whole, needs({ manager: 'conda' }))).rejects.toMatchObject({
      code: 'TOOL_MISSING',
      message: expect.stringMatching(/^i-1 lacks conda: not on the PATH of ubuntu\.\n.*use an AMI that has it/),
    });
    expect(sent).toHaveLength(2);
  });

  it.each<[string, Partial<EnvironmentTool>, Record<string, string>, number]>([
    ['nothing where Python alone sets it up', { manager: 'pip' }, {}, 0],
    ['nothing where uv runs the poetry of the lock file', { manager: 'poetry' }, {}, 0],
    ['poetry without a lock file', { manager: 'poetry', locked: false }, {}, 2],
    ['uv', {}, {}, 2],
    ['uv where "train.installer" is uv', { manager: 'pip', installer: 'uv' }, {}, 2],
    ['nothing where the variables of the training may lead to the tool', {}, { UV_DEFAULT_INDEX: 'https://i' }, 0],
    ['conda whatever variables of uv there are', { manager: 'conda' }, { SSL_CERT_FILE: 'ca.pem' }, 2],
    ['not conda where the training has a path of its own', { manager: 'conda' }, { PATH: '/opt/conda/bin' }, 0],
    ['what it lacks whatever other variables there are', {}, { LR: '1' }, 2],
  ])('finds %s', async (_, tool, env, commands) => {
    const { sent, whole } = context({ missing: null }, env);
    await assertReady(whole, needs(tool));
    expect(sent).toHaveLength(commands);
  });

  it('keeps the URL of a package index, which may hold a password, out of the command', async () => {
    const { sent, whole } = context({});
    await assertReady(whole, needs({ packageIndex: 'https://u:p@i/simple' }));
    await assertReady(whole, needs({ manager: 'pip', installer: 'uv', packageIndexes: ['https://u:p@i/simple'] }));
    await assertReady(whole, needs({}));
    const confidential = [sent[0], sent[2], sent[4]].map((words) => (words as [object, object])[1]);
    expect(confidential).toMatchObject([{ confidential: true }, { confidential: true }, { confidential: false }]);
  });

  it('warns if the packages of the lock file would fill the disk', async () => {
    const full = context({ free: 8 * GB });
    await assertReady(full.whole, needs({}, 3));
    expect(full.said[0]).toBe(
      'i-1 has 8 GB free. The environment of uv.lock downloads 3 GB and takes about 9 GB, unless it was installed before. Free some space, or set "remoteRoot" to a larger volume.',
    );
    const large = context({ free: 9 * GB });
    await assertReady(large.whole, needs({}, 3));
    expect(large.said).toEqual([]);
  });
});

describe('the volume of an instance to be launched', () => {
  const check = (volumeSize: number | undefined, least: number, most = least) => {
    const said: string[] = [];
    assertVolume({ volumeSize: volumeSize === undefined ? undefined : volumeSize * GB }, needs({}, least, most), {
      warn: (text) => void said.push(text),
    });
    return said;
  };

  it("is refused if the packages of the lock file can't fit, with the key to change", () => {
    expect(() => check(8, 6)).toThrow(
      expect.objectContaining({
        code: 'DISK_TOO_SMALL',
        message: expect.stringMatching(
          /downloads 6 GB; the volume of the instance has 8 GB, .* at least 9 GB\.\n.*"instance": \{ "volumeSize": "38 GB" \}/,
        ),
      }),
    );
  });

  it('is accepted with a warning if they may not fit', () => {
    expect(check(8, 2, 3)).toEqual([
      expect.stringMatching(/downloads 2 GB to 3 GB; .* about 9 GB\. For more space, set/),
    ]);
    expect(check(undefined, 17)).toHaveLength(1);
  });

  it('is accepted if they fit, or if their size is not known', () => {
    expect(check(undefined, 16)).toEqual([]);
    expect(() => assertVolume({ volumeSize: 1 }, needs({}), { warn: fail })).not.toThrow();
    expect(() => assertVolume({ volumeSize: 1 }, null, { warn: fail })).not.toThrow();
  });
});

function fail(text: string): never {
  throw new Error(text);
}
