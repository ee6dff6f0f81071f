import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { EXECUTOR_OPTIONS, type TargetName } from '../config/schema/executor-options';
import { optionNames } from '../config/schema/target-options';

interface Params {
  validateOptsAgainstSchema(options: object, schema: object): void;
}

/** Nx's own check of a target's options; its package exports no path to it. */
const { validateOptsAgainstSchema } = jest.requireActual<Params>(
  join(dirname(require.resolve('nx/package.json')), 'dist/src/utils/params.js'),
);

it.each([
  ['remote-pull', 'path'],
  ['remote-exec', 'command'],
  ['remote-train', 'args'],
])('Nx lets one text, a number and a list of them through to %s --%s', (target, option) => {
  const schema = JSON.parse(readFileSync(join(__dirname, target, 'schema.json'), 'utf8')) as object;
  for (const value of ['a', 1, ['$(id).pt', "it's"], ['a', 1]])
    expect(() => validateOptsAgainstSchema({ [option]: value }, schema)).not.toThrow();
});

describe.each(Object.keys(EXECUTOR_OPTIONS) as TargetName[])('the schema.json of %s', (target) => {
  const { properties } = JSON.parse(readFileSync(join(__dirname, target, 'schema.json'), 'utf8')) as {
    properties: Record<string, { description: string; default?: unknown }>;
  };

  it('has the options that the target takes, and no others', () => {
    const expected = optionNames(target).filter((name) => name !== 'train');
    expect(Object.keys(properties).sort()).toEqual(expected.sort());
  });

  it('describes its own options as EXECUTOR_OPTIONS does (else: node scripts/generate/schemas.mjs)', () => {
    const own = Object.entries<{ description: string; default?: unknown }>(EXECUTOR_OPTIONS[target]);
    for (const [name, { description, default: byDefault }] of own)
      expect(properties[name]).toMatchObject(
        byDefault === undefined ? { description } : { description, default: byDefault },
      );
  });
});

it('each executor of executors.json has its options in EXECUTOR_OPTIONS', () => {
  const { executors } = JSON.parse(readFileSync(join(__dirname, '../../executors.json'), 'utf8')) as {
    executors: object;
  };
  expect(Object.keys(EXECUTOR_OPTIONS).sort()).toEqual(Object.keys(executors).sort());
});
