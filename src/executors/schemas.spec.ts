import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

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
