import fc from 'fast-check';
import { Aws } from '../../aws/clients';
import { describeInstances, launchTagged } from './tagged.fixture';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { startPipeline } from '../../run/pipeline.fixture';
import { callerIdentity } from '../../workspace/identity';
import { Printer } from '../../report/printer';
import { TAG } from '../describe/ownership';
import { mismatch, type RequiredTags, type Waivable } from './required-tags';
import { managedInstance, type ManagedInstance } from './managed';
import { isResourceId } from './resource-id';
import { stop, terminate } from './terminate';

const RUNS = ['20260101-000000-model-abcdef', '20260101-000000-model-ghijkl'];
const ME = 'arn:aws:iam::123456789012:user/ann';
const OTHER = 'arn:aws:iam::123456789012:user/bea';
const WAIVABLE: Waivable[] = ['workspace', 'project', 'owner', 'store'];

const required: RequiredTags = {
  owner: { workspace: 'acme', project: 'model', caller: ME },
  store: 'bucket/team',
  run: RUNS[0],
};
const OURS: Record<string, string> = {
  [TAG.managed]: 'true',
  [TAG.workspace]: 'acme',
  [TAG.project]: 'model',
  [TAG.owner]: ME,
  [TAG.store]: 'bucket/team',
  [TAG.run]: RUNS[0],
};

/** Often what it must be, often nearly that, sometimes anything. */
const near = (right: string, ...wrong: string[]) =>
  fc.oneof(
    { weight: 6, arbitrary: fc.constant(right) },
    { weight: 3, arbitrary: fc.constantFrom(undefined, '', `${right} `, right.toUpperCase(), '*', '?', ...wrong) },
    { weight: 1, arbitrary: fc.string({ unit: 'binary' }) },
  );
const tagSets = fc
  .record({
    [TAG.managed]: near('true', 'True', 'false', '1'),
    [TAG.workspace]: near('acme', 'acme2'),
    [TAG.project]: near('model', 'vision'),
    [TAG.owner]: near(ME, OTHER),
    [TAG.store]: near('bucket/team', 'bucket/team/', 'bucket/other', 'other/team'),
    [TAG.run]: near(RUNS[0], RUNS[1]),
    Name: fc.constantFrom('nx-ec2 model', 'nx-ec2:managed=true'),
  })
  .map(
    (tags) =>
      Object.fromEntries(
        Object.entries(tags).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
      ) as Record<string, string>,
  );
const requirements = fc.record({
  waived: fc.subarray(WAIVABLE),
  run: fc.constantFrom(undefined, ...RUNS),
  store: fc.constantFrom('bucket/team', 'bucket/team/'),
});

/** The rule of docs/explanation/trust.md, written a second time. */
function mayEnd(tags: Record<string, string>, { owner, store, run, waived = [] }: RequiredTags): boolean {
  const skips = (tag: Waivable) => waived.includes(tag);
  return (
    tags['nx-ec2:managed'] === 'true' &&
    (skips('workspace') || tags['nx-ec2:workspace'] === owner.workspace) &&
    (skips('project') || tags['nx-ec2:project'] === owner.project) &&
    (skips('owner') || callerIdentity(tags['nx-ec2:owner'] ?? '') === callerIdentity(owner.caller)) &&
    (skips('store') || (tags['nx-ec2:store'] ?? '').replace(/\/+$/, '') === store.replace(/\/+$/, '')) &&
    (run === undefined || tags['nx-ec2:run'] === run)
  );
}

describe('the tags that an instance must have to be stopped or terminated', () => {
  it('are what the rule says, for any tags of an instance and any required tags', () => {
    fc.assert(
      fc.property(tagSets, requirements, (tags, more) => {
        const asked = { ...required, ...more };
        expect(mismatch(tags, asked) === null).toBe(mayEnd(tags, asked));
      }),
      { numRuns: 3_000 },
    );
  });

  it('are compared, and the first that differs is named, with its value and the required one', () => {
    const of = (tag: string, value?: string) => {
      const { [tag]: _, ...rest } = OURS;
      return mismatch(value === undefined ? rest : { ...rest, [tag]: value }, required);
    };
    expect(mismatch(OURS, required)).toBeNull();
    expect(of(TAG.managed)).toEqual({ tag: 'managed', value: null, expected: 'true' });
    expect(of(TAG.owner, OTHER)).toEqual({ tag: 'owner', value: OTHER, expected: ME });
    expect(of(TAG.run, RUNS[1])).toEqual({ tag: 'run', value: RUNS[1], expected: RUNS[0] });
    expect(of(TAG.store, 'bucket/other')).toMatchObject({ tag: 'store' });
  });

  it('have an id of the right shape for each kind of resource', () => {
    for (const id of ['i-01234567', 'i-0123456789abcdef0']) expect(isResourceId('instance', id)).toBe(true);
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(isResourceId('instance', text)).toBe(/^i-[0-9a-f]{8,17}$/.test(text) && !text.includes('\n'));
      }),
    );
  });
});

describe('the check of tags, against EC2', () => {
  let at: Fixture;
  let aws: Aws;
  let id: string;
  const printer = new Printer({ stdout: process.stderr });
  beforeAll(async () => {
    at = await startPipeline({ instances: [] });
    aws = new Aws({});
    id = await launchTagged(at, {});
  });
  afterAll(async () => {
    aws.close();
    await at.close();
  });

  const passes = (asked: RequiredTags) =>
    managedInstance(aws, id, asked).then(
      (found) => found !== null,
      (error: { code: string }) => {
        expect(['NOT_MANAGED', 'NOT_OWNER', 'OTHER_RUN']).toContain(error.code);
        return false;
      },
    );

  it('passes an instance by the tags that EC2 has of it now, and by nothing else', async () => {
    await fc.assert(
      fc.asyncProperty(tagSets, requirements, async (tags, more) => {
        at.aws.instances.get(id)!.tags = tags;
        const asked = { ...required, ...more };
        // What XML can't hold is not what EC2 has.
        const [{ tags: known }] = await describeInstances(at, id);
        expect(await passes(asked)).toBe(mayEnd(known, asked));
      }),
      { numRuns: 60 },
    );
  });

  it('refuses an id of another shape before EC2 is asked', async () => {
    const before = at.aws.requests.length;
    const bad = ['i-1;rm', 'i-*', '*', '', 'i-0123456789abcdef0\n', 'i-0123456789ABCDEF0', 'mi-0123456789abcdef0'];
    for (const text of [...bad, `arn:aws:ec2:eu-west-1:123456789012:instance/${id}`, `${id},${id}`, '\x1b[2J'])
      await expect(managedInstance(aws, text, required)).rejects.toMatchObject({ code: 'RESOURCE_ID' });
    expect(at.aws.requests.length).toBe(before);
  });

  it('refuses an object that did not pass the check, even a cast or a copy', async () => {
    at.aws.instances.get(id)!.tags = { ...OURS };
    const checked = (await managedInstance(aws, id, required))!;
    const forged = { ...checked, id: 'i-0123456789abcdef0' } as ManagedInstance;
    const before = at.aws.requests.length;
    await expect(terminate(aws, forged, printer)).rejects.toThrow(TypeError);
    await expect(stop(aws, { ...checked } as ManagedInstance)).rejects.toThrow(TypeError);
    expect(() => Object.assign(checked, { id: 'i-0123456789abcdef0' })).toThrow(TypeError);
    expect(at.aws.requests.length).toBe(before);
    await terminate(aws, checked, printer);
    expect(at.aws.instances.get(id)!.state).not.toBe('running');
  });
});
