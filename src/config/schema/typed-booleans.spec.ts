import { z } from 'zod';
import { configurationSchema, trainShape } from './schema';
import { textOptions } from './target-options';
import { withBooleans } from './typed-booleans';

interface Json {
  type?: string;
  const?: unknown;
  anyOf?: Json[];
  properties?: Record<string, Json>;
}

/** The settings that may be `false`, as the published schema has them. */
function falsePaths({ type, const: value, anyOf = [], properties = {} }: Json, path: string[] = []): string[][] {
  const own = type === 'boolean' || value === false ? [path] : [];
  const below = Object.entries(properties).flatMap(([key, each]) => falsePaths(each, [...path, key]));
  return [...own, ...below, ...anyOf.flatMap((each) => falsePaths(each, path))];
}

const json = (shape: z.ZodRawShape) =>
  z.toJSONSchema(z.object(shape), { io: 'input', unrepresentable: 'any' }) as unknown as Json;
const paths = [...falsePaths(json(configurationSchema.shape)), ...falsePaths(json(trainShape))];
const nested = (path: readonly string[], value: unknown) =>
  path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value) as Record<string, unknown>;

it('knows the settings that may be false beside text or a number', () => {
  const names = paths.map((path) => path.join('.'));
  for (const name of [
    'instance.idleTimeout',
    'instance.spot',
    'train.setup',
    'setup',
    'train.metrics.idle',
    'instance.all',
  ])
    expect(names).toContain(name);
});

it.each([...new Set(paths.map((path) => path.join('.')))])('--%s=false is false', (name) => {
  const path = name.split('.');
  expect(textOptions('remote-train', nested(path, 'false'), (_, value) => value)).toEqual(nested(path, false));
});

it.each([
  ['args', 'false'],
  ['script', 'true'],
  ['instance.tags.keep', 'false'],
  ['instance.tag.gpu', 'true'],
  ['train.args', 'true'],
  // Setup is a command line, or none.
  ['setup', 'true'],
  ['metrics.idle', 'true'],
])('--%s=%s stays a text', (name, text) => {
  const given = nested(name.split('.'), text);
  expect(textOptions('remote-train', given, (_, value) => value)).toEqual(given);
});

it('leaves other values as they are', () => {
  for (const value of ['falsehood', 0, ['false'], null, { size: 2 }])
    expect(withBooleans(configurationSchema.shape.instance, value)).toEqual(value);
});
