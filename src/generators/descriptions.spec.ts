import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(__dirname, '../..');
const { generators } = JSON.parse(readFileSync(join(root, 'generators.json'), 'utf8')) as {
  generators: Record<string, { schema: string }>;
};

it.each(Object.keys(generators))('%s has a description, which its --help shows', (name) => {
  const path = join(root, generators[name].schema.replace('./dist/', './src/'));
  expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ description: expect.stringMatching(/\w+ \w+/) });
});
