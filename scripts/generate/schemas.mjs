// Writes ec2.config.schema.json and each executor's schema.json from src/config/schema (needs a build).
// With --check, it writes nothing and fails where one is not what it would write.
import { writeFileSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const require = createRequire(import.meta.url);
const { z } = require('zod');
const { configurationSchema } = require(join(root, 'build/config/schema/schema.js'));
const { EXECUTOR_OPTIONS } = require(join(root, 'build/config/schema/executor-options.js'));
const { executors } = JSON.parse(readFileSync(join(root, 'executors.json'), 'utf8'));

const isCheck = process.argv.includes('--check');
const stale = [];
const write = (path, value) => {
  if (!isCheck) writeFileSync(join(root, path), `${JSON.stringify(value, null, 2)}\n`);
  // Formatting is Prettier's.
  else if (JSON.stringify(JSON.parse(readFileSync(join(root, path), 'utf8'))) !== JSON.stringify(value))
    stale.push(path);
};
const json = z.toJSONSchema(configurationSchema, { io: 'input', target: 'draft-7', unrepresentable: 'any' });
write('ec2.config.schema.json', { ...json, title: 'nx-ec2: the configuration of a training project' });

/**
 * Text that looks like a number reaches the executor as one, which takes it back from the command line. No list of
 * types: by that Nx would make numbers of texts in a target's options, too.
 */
const TEXT = [{ type: 'string' }, { type: 'number' }];
/** One text, or a list of them: Nx refuses a list where the schema does not say that there may be one. */
const TEXTS = [{ type: 'string' }, { type: 'array', items: { anyOf: TEXT } }];

/** An option of EXECUTOR_OPTIONS as JSON schema. */
const optionSchema = ({ kind, ...rest }) =>
  kind === 'texts' ? { anyOf: TEXTS, ...rest } : kind === 'text-or-number' ? rest : { type: kind, ...rest };
/** Types alone: Nx refuses an object, or a list, where the schema does not say that there may be one. */
const shapeOf = ({ type, items, anyOf }) => {
  if (!anyOf) return { type, ...(items ? { items: asText(shapeOf(items)) } : {}) };
  const shapes = new Map(anyOf.map(shapeOf).map((each) => [JSON.stringify(each), each]));
  return shapes.size > 1 ? { anyOf: [...shapes.values()] } : [...shapes.values()][0];
};
const asText = ({ type, enum: values, anyOf, ...rest }) =>
  anyOf
    ? { anyOf: anyOf.some((each) => each.type === 'number') ? anyOf : [...anyOf, TEXT[1]], ...rest }
    : asTextAlone({ type, enum: values, ...rest });
const asTextAlone = ({ type, enum: values, ...rest }) =>
  (type === 'string' && !values) || (Array.isArray(type) && type.join() === 'string,number')
    ? { anyOf: TEXT, ...rest }
    : { ...(type ? { type } : {}), ...(values ? { enum: values } : {}), ...rest };
const { train, ...connection } = json.properties;
delete connection.$schema;
delete connection.sync;
for (const [name, { description }] of Object.entries(executors)) {
  const trainProperties = /^remote-(train|submit)$/.test(name)
    ? train.properties
    : name === 'remote-cancel'
      ? { gracePeriod: train.properties.gracePeriod }
      : {};
  const properties = {
    ...connection,
    sync: { type: 'object', description: 'What is sent: as "sync" in ec2.config.json.' },
    ...trainProperties,
  };
  for (const key of Object.keys(properties)) {
    // Validation is src/config's, with messages that name the place; a default here would hide what is configured.
    const { description: text, type, enum: values, items, anyOf } = properties[key];
    // No type where several are allowed: Nx would turn a word into a list of one.
    properties[key] = {
      ...(type ? { type } : {}),
      ...(values ? { enum: values } : {}),
      ...(type === 'array' ? { items: asText(shapeOf(items)) } : {}),
      ...(anyOf?.some((each) => each.type === 'object' || each.type === 'array') ? shapeOf({ anyOf }) : {}),
      description: text,
    };
  }
  write(`src/executors/${name}/schema.json`, {
    $schema: 'https://json-schema.org/schema',
    version: 2,
    outputCapture: 'direct-nodejs',
    title: name,
    description,
    type: 'object',
    properties: Object.fromEntries(
      [
        ...Object.entries(properties),
        ...Object.entries(EXECUTOR_OPTIONS[name]).map(([key, option]) => [key, optionSchema(option)]),
      ].map(([key, each]) => [key, asText(each)]),
    ),
    // Unknown options are refused by src/config, which says what is allowed.
    additionalProperties: true,
    required: [],
  });
}

if (stale.length) {
  console.error(`stale, to be written by "node scripts/generate/schemas.mjs" and formatted: ${stale.join(', ')}`);
  process.exit(1);
}
