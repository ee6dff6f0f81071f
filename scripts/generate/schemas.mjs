// Writes ec2.config.schema.json and each executor's schema.json from the one schema in src/config (needs a build).
// With --check, it writes nothing and fails where one is not what it would write.
import { writeFileSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const require = createRequire(import.meta.url);
const { z } = require('zod');
const { configurationSchema } = require(join(root, 'build/config/schema/schema.js'));
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

const reporting = {
  verbose: { type: 'boolean', description: 'Print details: files that are left out, archives, ids.', default: false },
  json: {
    type: 'boolean',
    description: 'Print one machine-readable line on standard output; the rest goes to standard error.',
    default: false,
  },
};
const dryRun = {
  type: 'boolean',
  description: 'List the files that would be sent and the files that are left out, with the reason. Nothing is sent.',
  default: false,
};
const force = {
  type: 'boolean',
  description: 'Overwrite synced files that were changed on the instance, without a copy.',
  default: false,
};
const run = { type: 'string', description: 'Id of the run. Default: your latest of this project.' };
const rerun = {
  type: 'boolean',
  description: 'Start a new run even if the same training is active or has succeeded.',
  default: false,
};
const resumeFrom = {
  type: 'string',
  description: 'Start from the last checkpoint of a run: its id, or `last` for your latest run of this project.',
};
const own = {
  'remote-sync': { dryRun, force },
  'remote-watch': { force },
  'remote-train': { dryRun, force, rerun, resumeFrom },
  'remote-submit': { dryRun, force, rerun, resumeFrom },
  'remote-logs': {
    run,
    since: {
      type: 'string',
      description: 'Begin at this time: a duration before now ("10m"), or a time ("2026-11-25T10:00").',
    },
    tail: { type: 'number', description: 'Begin with this number of last lines.' },
    follow: {
      type: 'boolean',
      description: 'Follow the log until the run has ended; false: print the log so far.',
      default: true,
    },
  },
  'remote-status': {
    run: { type: 'string', description: 'Show this run in full; `last`: your latest. Default: list the runs.' },
    watch: { type: 'boolean', description: 'Print again at each change, until no run is active.', default: false },
    limit: { type: 'number', description: 'Number of runs to list, newest first.', default: 20 },
  },
  'remote-cancel': {
    run,
    force: { type: 'boolean', description: 'Stop the run even if someone else started it.', default: false },
  },
  'remote-pull': {
    run,
    path: {
      anyOf: TEXTS,
      description:
        'Paths or globs of artifacts to fetch, relative to the project, extra files too; those outside the project begin with {workspaceRoot}/, those of a checkpoint with artifacts/checkpoints/<number>/. Default: all outputs.',
    },
    checkpoints: { description: 'Checkpoints to fetch: none, last, all, or a number. Default: none.' },
    output: {
      type: 'string',
      description:
        'Directory to write to, relative to the project: artifacts/model.pt becomes <output>/artifacts/model.pt. Default: the project.',
    },
    overwrite: {
      type: 'boolean',
      description: 'Replace local files that differ. Files that git tracks are never replaced.',
      default: false,
    },
  },
  'remote-exec': {
    run: {
      type: 'string',
      description:
        'Run it in the directory and environment of this run; `last`: your latest. Default: in the synced files.',
    },
    command: {
      anyOf: TEXTS,
      description: 'The command: a string that is split into words like in a shell, or an array.',
    },
  },
  'remote-shell': { run },
  'remote-up': {},
  'remote-down': {
    stop: {
      type: 'boolean',
      description: 'Stop the instance and keep its disk, instead of terminating it.',
      default: false,
    },
    force: {
      type: 'boolean',
      description: 'Also if a run is active there, or if it was launched for someone else.',
      default: false,
    },
  },
  'remote-doctor': {},
};
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
      Object.entries({ ...properties, ...own[name], ...reporting }).map(([key, each]) => [key, asText(each)]),
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
