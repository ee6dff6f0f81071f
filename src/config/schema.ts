import { z } from 'zod';
import { descriptionSchema } from './description';
import { duration, size } from './units';

const text = z.string().min(1);

const named = [
  z.strictObject({
    id: z.string().regex(/^i-[0-9a-f]{8,17}$/, 'must look like i-0123456789abcdef0'),
    wait: duration.optional(),
  }),
  z.strictObject({ name: text, wait: duration.optional() }),
  z.strictObject({ tag: z.record(text, z.string()), all: z.boolean().optional(), wait: duration.optional() }),
] as const;

/** An instance that is there is named by one of these keys; an object without any describes one that is to be made. */
export const NAMING = ['id', 'name', 'tag'] as const;

/** The connection: the same for all projects of a workspace, as a rule. */
export const connectionShape = {
  region: z
    .string()
    .regex(/^[a-z0-9-]+$/, 'must be the id of a region, e.g. "eu-west-1"')
    .optional()
    .describe("AWS region. Default: the SDK's own resolution (AWS_REGION, profile)."),
  profile: text.optional().describe('Profile of the AWS configuration files.'),
  roleArn: z.string().startsWith('arn:').optional().describe('A role to assume with the credentials in force.'),
  bucket: z
    .string()
    .regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, {
      error: ({ input }) =>
        String(input).startsWith('s3://')
          ? 'must be the name alone, without s3://'
          : 'must be the name of an S3 bucket',
    })
    .optional()
    .describe('The bucket that everything travels through.'),
  prefix: z
    .string()
    .regex(/^[A-Za-z0-9!_.*()/-]*$/, 'may hold letters, digits and !_.*()/- only')
    .refine(
      (prefix) => !prefix.split('/').some((name) => name === '.' || name === '..'),
      'may not hold "." or ".." as a name: some servers and proxies resolve them',
    )
    .default('')
    .describe('Key prefix of the store in the bucket.'),
  bucketOwner: z
    .string()
    .regex(/^\d{12}$/, 'must be an account id of 12 digits')
    .optional()
    .describe('The account that must own the bucket.'),
  storeAccess: z
    .enum(['auto', 'role', 'presigned'])
    .default('auto')
    .describe(
      "How an instance reaches the store: by its role, by URLs and forms that the client signs, or auto: by the role where that may, else by the client's.",
    ),
  kmsKeyId: text.optional().describe("KMS key that objects are encrypted with. Default: the bucket's own."),
  instance: z
    .union([text, ...named, z.array(z.union([text, ...named])).min(1), descriptionSchema])
    .optional()
    .describe(
      'The instance: an id, a Name, { "id" | "name" | "tag", "wait": "5m" }, or a description of one that is made when needed, { "type": "g5.xlarge", … }. For remote-sync several: a list, or { "tag", "all": true }.',
    ),
  pricePerHour: z
    .number()
    .positive()
    .optional()
    .describe('What an hour of the instance costs, USD: remote-status and the end of a run say what it came to.'),
  remoteRoot: z
    .string()
    .startsWith('/', 'must be an absolute path')
    .optional()
    .describe('Directory on the instance. Default: /var/lib/nx-ec2.'),
  user: z
    .string()
    .regex(/^[a-z_][a-z0-9_.-]{0,31}$/, 'must be a login name')
    .optional()
    .describe('The user that trains. Default: the login user that is found.'),
};

export const syncSchema = z.strictObject({
  include: z
    .array(text)
    .default([])
    .describe('Git-ignored files to send as well: globs relative to the project, or {workspaceRoot}/….'),
  exclude: z
    .array(text)
    .default([])
    .describe('Files not to send: globs relative to the project, or {workspaceRoot}/….'),
  dependencies: z.boolean().default(true).describe('Send the projects that this one depends on, too.'),
  tree: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,64}$/, 'may hold letters, digits and ._- only')
    .optional()
    .describe('A name that callers share a tree by. Default: one tree for each caller.'),
  strategy: z
    .enum(['auto', 'store', 'archive'])
    .default('auto')
    .describe(
      'How contents travel: store: only what the store lacks, as packs; archive: one tar of what is needed; auto: store, where the bucket can.',
    ),
  inline: z
    .boolean()
    .default(true)
    .describe('Small edits may ride in the SSM command itself, which stays in the command history.'),
  secret: z
    .array(text)
    .default(['**/.env*', '**/*.pem', '**/*.key', '**/*secret*', '**/*credential*', '**/.netrc'])
    .describe('Globs of files that never ride in a command: relative to the project, or {workspaceRoot}/….'),
  compression: z
    .union([z.literal('auto'), z.int().min(0).max(9)])
    .default('auto')
    .describe('Level of compression, 0 (none) to 9; auto: by the speed of the link. What does not compress is not.'),
  warnSize: size.prefault('100MB').describe('Above this size the largest files are named before they are sent.'),
});

/** The folder of the parameters that hold the secrets of stores: callers may read them, instances may not. */
export const CALLERS_FOLDER = '/nx-ec2-callers';

const variable = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be a variable name');

const words = z.union([
  z.string(),
  z.number().transform(String),
  z.array(z.union([z.string(), z.number().transform(String)])),
]);

export const trainShape = {
  script: text.optional().describe('Python script to run, relative to the project.'),
  command: words.optional().describe('Command to run instead of a script; split into words, not run by a shell.'),
  args: words.default([]).describe('Arguments: a string that is split into words as a shell does, or an array.'),
  env: z
    .record(variable, z.union([z.string(), z.number().transform(String), z.boolean().transform(String)]))
    .default({})
    .describe('Environment variables of the training.'),
  setup: z
    .union([z.literal(false), z.string(), z.array(z.string())])
    .optional()
    .describe("Command lines that set up the environment; false: none. Default: by the project's Python tool."),
  environment: z
    .enum(['auto', 'uv', 'poetry', 'conda', 'pip', 'none'])
    .default('auto')
    .describe("The project's Python tool."),
  installer: z
    .enum(['auto', 'uv', 'pip'])
    .default('auto')
    .describe(
      'What installs a requirements.txt: uv, which is fetched where the instance lacks it; pip; auto: uv, and pip where uv can not do it.',
    ),
  outputs: z
    .array(z.union([text, z.strictObject({ path: text, download: z.boolean().default(true) })]))
    .default([])
    .describe(
      'Files, directories and globs, relative to the project, that the training writes its results to: they come back. "artifacts/" (NX_EC2_OUTPUT_DIR) is always one. With { "path", "download": false } it stays in the store and a pointer file comes back.',
    ),
  downloadLimit: size
    .prefault('500MB')
    .describe('A larger artifact stays in the store, and a pointer file comes back in its place.'),
  scratch: z
    .array(text)
    .default([])
    .describe(
      'Files, directories and globs, relative to the project, that the training writes and that are no results, e.g. data that it downloads: neither saved nor named.',
    ),
  extraLimit: size
    .prefault('10GB')
    .describe(
      'Files that the training writes outside its outputs are saved in the store as well, up to this size in all.',
    ),
  maxArtifactSize: size.prefault('100GB').describe('Artifacts larger than this in all are refused.'),
  timeout: duration.optional().describe('Time limit of the training, e.g. "8h".'),
  grace: duration.prefault('30s').describe('Time between SIGTERM and SIGKILL.'),
  passEnv: z.array(variable).default([]).describe('Names of variables of this machine that go along.'),
  secrets: z
    .record(
      variable,
      z
        .string()
        .regex(/^(ssm|secretsmanager):.+$/, 'must be "ssm:<parameter>" or "secretsmanager:<secret>[#<key>]"')
        .refine(
          (source) => !/^ssm:/.test(source) || !source.includes(`${CALLERS_FOLDER.slice(1)}/`),
          `must not be a parameter below ${CALLERS_FOLDER}/, which only callers may read: it signs the records of runs`,
        ),
    )
    .default({})
    .describe(
      'Variables whose values are read when the training starts: "ssm:<parameter>" or "secretsmanager:<secret>[#<key of its JSON>]". Masked in the log.',
    ),
  secretsFrom: z
    .enum(['instance', 'client'])
    .default('instance')
    .describe('Who reads the secrets: the instance by its role, or this machine, which passes them on encrypted.'),
  resumeArgs: words.default([]).describe('Arguments that are added in an attempt after the first.'),
  retry: z
    .strictObject({
      exitCodes: z.array(z.int().min(1).max(255)).default([]).describe('Exit codes that mean: try again.'),
      attempts: z.int().min(1).max(100).default(3).describe('Attempts in all.'),
    })
    .prefault({})
    .describe('When a training that failed is started again, from its last checkpoint.'),
  checkpoints: z
    .strictObject({
      keep: z.int().min(1).max(1000).default(3).describe('So many of the newest are kept in the store.'),
      every: duration.optional().describe('At most one in so long is saved, besides the last.'),
      paths: z
        .array(text)
        .default([])
        .describe(
          'Files, directories and globs, relative to the project, that the training writes its checkpoints to, e.g. "output/checkpoint-*": saved while it runs, and put back to the same place before it resumes.',
        ),
    })
    .prefault({})
    .describe('Checkpoints, in NX_EC2_CHECKPOINT_DIR and in the paths, are saved while the training runs.'),
  memory: size.optional().describe('Memory that all processes of the training may use.'),
  cores: z.int().min(1).optional().describe('Processors that the training may use.'),
  claim: z
    .union([z.enum(['shared', 'exclusive']), z.strictObject({ gpus: z.int().min(1).max(64) })])
    .default('shared')
    .describe(
      'What the run has to itself: exclusive: the instance, { "gpus": n }: so many of its GPUs; others wait for it in order. shared: nothing.',
    ),
  data: z
    .array(
      z.strictObject({
        source: z.string().regex(/^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/.*)?$/, 'must be s3://bucket/prefix'),
        path: text,
        key: z.boolean().default(false),
      }),
    )
    .default([])
    .describe(
      'Data in S3: { "source": "s3://bucket/prefix", "path": "data/corpus" }, fetched by the instance, once, to a path relative to the project; "key": true makes its version part of the cache key.',
    ),
  index: z
    .url()
    .optional()
    .describe('Package index that the set-up installs from. Default: what the instance is configured with.'),
  metrics: z
    .strictObject({
      file: text
        .optional()
        .describe('File of JSON lines that the training writes metrics to, relative to the project.'),
      idle: z
        .union([z.literal(false), duration])
        .prefault('10m')
        .describe('A GPU that is idle for so long is warned of; false: never.'),
    })
    .prefault({})
    .describe(
      'Metrics: numbers that the training prints (JSON, dicts, `step 500 | loss 3.16`, progress bars), or writes to a file.',
    ),
  onCancel: z
    .enum(['detach', 'stop'])
    .optional()
    .describe('What a signal to the target does to the run. Default: detach.'),
};

export const trainSchema = z.strictObject(trainShape);

/** ec2.config.json: docs/CONFIGURATION.md. */
export const configurationSchema = z.strictObject({
  $schema: z.string().optional(),
  ...connectionShape,
  sync: syncSchema.prefault({}),
  train: trainSchema.prefault({}),
});
