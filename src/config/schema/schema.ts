import { z } from 'zod';
import { launchSpecSchema } from './launch-spec';
import { metricsShape } from './metrics-schema';
import { isRegionId } from '../syntax/region-id';
import { syncSchema } from './sync-schema';
import { duration, size } from '../syntax/units';

const text = z.string().min(1);

const named = [
  z.strictObject({
    id: z.string().regex(/^i-[0-9a-f]{8,17}$/, 'must look like i-0123456789abcdef0'),
    startupTimeout: duration.optional(),
  }),
  z.strictObject({ name: text, startupTimeout: duration.optional() }),
  z.strictObject({ tag: z.record(text, z.string()), all: z.boolean().optional(), startupTimeout: duration.optional() }),
] as const;

/** An instance that is there is named by one of these keys; an object without any describes one that is to be made. */
export const NAMING = ['id', 'name', 'tag'] as const;

/** The connection: the same for all projects of a workspace, as a rule. */
export const connectionShape = {
  region: z
    .string()
    .regex(/^[a-z0-9-]+$/, 'must be the id of a region, e.g. "eu-west-1"')
    .optional()
    .describe('AWS region. Default: as the AWS SDK finds it (AWS_REGION, the profile).'),
  profile: text.optional().describe('Profile of the AWS configuration files. Default: as the AWS SDK finds it.'),
  roleArn: z.string().startsWith('arn:').optional().describe('ARN of a role to assume with the current credentials.'),
  bucket: z
    .string()
    .regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, {
      error: ({ input }) =>
        String(input).startsWith('s3://')
          ? 'must be the name alone, without s3://'
          : 'must be the name of an S3 bucket',
    })
    .optional()
    .describe('The S3 bucket that holds the store: synced files, runs, results.'),
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
    .describe('Id of the account that must own the bucket; each request to S3 names it.'),
  storeAccess: z
    .enum(['auto', 'role', 'presigned'])
    .default('auto')
    .describe(
      'How an instance accesses the store: role (its own), presigned (URLs and forms that this machine signs), or auto (the role if it has the permissions, else presigned).',
    ),
  kmsKeyId: text.optional().describe("KMS key that objects are encrypted with. Default: the bucket's own."),
  instance: z
    .union([text, ...named, z.array(z.union([text, ...named])).min(1), launchSpecSchema])
    .optional()
    .describe(
      'The instance: an id, a Name, { "id" | "name" | "tag", "startupTimeout": "5m" }, or a launch spec, { "type": "g5.xlarge", … }, of an instance that is launched when it is needed. For remote-sync, and for a training with "train.nodes", also several: a list, or { "tag", "all": true } for all running instances with the tag.',
    ),
  pricePerHour: z
    .number()
    .positive()
    .optional()
    .describe(
      'Price of one hour of the instance, USD; remote-status and the end of a run print the cost. Default: the price that AWS reports for an instance with a launch spec; none for a named instance.',
    ),
  remoteRoot: z
    .string()
    .startsWith('/', 'must be an absolute path')
    .optional()
    .describe(
      'Directory on the instance. Only root may be able to change it and the directories above it. Default: /var/lib/nx-ec2.',
    ),
  user: z
    .string()
    .regex(/^[a-z_][a-z0-9_.-]{0,31}$/, 'must be a login name')
    .optional()
    .describe('The user that runs the training. Default: the login user of the image.'),
};

/** No variable of a process can have one. */
const withoutNul = z.string().regex(/^[^\0]*$/, 'must not contain a NUL character');

/** The folder of the parameters that hold the secrets of stores: callers may read them, instances may not. */
export const CALLERS_FOLDER = '/nx-ec2-callers';

const variable = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be a variable name');

const words = z.union([
  z.string(),
  z.number().transform(String),
  z.array(z.union([z.string(), z.number().transform(String)])),
]);

const NODES = 'must be a number from 1 to 64, or MIN:MAX, for example "2:4"';

export const trainShape = {
  script: text.optional().describe('Python script to run, relative to the project.'),
  command: words
    .optional()
    .describe(
      'Command to run instead of a script: a string that is split into words, or a list of words. No shell runs it.',
    ),
  args: words
    .default([])
    .describe(
      'Arguments of the script or command: a string that is split into words like in a shell, or a list of words.',
    ),
  launcher: z
    .enum(['auto', 'torchrun', 'ray', 'none'])
    .default('auto')
    .describe(
      'What starts the processes of the training. torchrun: several processes, each of which runs the script or command. ray: the script or command runs once, on the first node, and uses the Ray cluster of all nodes. none: one process. auto: the command decides; one that begins with torchrun or accelerate launch starts as many processes as "processes" says.',
    ),
  processes: z
    .union([z.literal('gpu'), z.int().min(1).max(1024)])
    .optional()
    .describe(
      'Number of processes that the launcher starts; gpu: one for each GPU that the run may use, and one without GPUs. Default: gpu if "launcher" is torchrun, else what the command itself says.',
    ),
  nodes: z
    .union([z.int().min(1).max(64), z.string().regex(/^\d{1,2}:\d{1,2}$/, NODES)])
    .default(1)
    .describe(
      'Number of instances that the training runs on together: of those that "instance" names, or with a "type" launched for the run, all at once or none. Each runs the script or command (with the launcher ray, the first one), and the run succeeds if it does on all. MIN:MAX, for example "2:4", with a "type": as many of them as EC2 has capacity for, and the run continues on those that are left when one is lost. Needs a role that may read the store.',
    ),
  growAfter: z
    .union([z.literal(false), duration])
    .prefault('5m')
    .describe(
      'With MIN:MAX nodes: how long an attempt on fewer than MAX trains before missing nodes are launched. When they are ready, the attempt saves and ends, and the next one begins on more nodes; false: never.',
    ),
  env: z
    .record(variable, z.union([withoutNul, z.number().transform(String), z.boolean().transform(String)]))
    .default({})
    .describe('Environment variables of the training. Their values never appear in the SSM command history.'),
  setup: z
    .union([z.literal(false), z.string(), z.array(z.string())])
    .optional()
    .describe(
      "Command lines, run without a shell, that set up the environment; false: none. Default: those of the project's Python tool.",
    ),
  environment: z
    .enum(['auto', 'uv', 'poetry', 'conda', 'pip', 'none'])
    .default('auto')
    .describe(
      "The project's Python tool; auto: the tool of the nearest dependency file; none: the instance's own Python.",
    ),
  installer: z
    .enum(['auto', 'uv', 'pip'])
    .default('auto')
    .describe(
      'Tool that installs a requirements.txt: uv, which is fetched if the instance lacks it; pip; auto: uv, or pip for files that uv does not support.',
    ),
  outputs: z
    .array(z.union([text, z.strictObject({ path: text, download: z.boolean().default(true) })]))
    .default([])
    .describe(
      'Files, directories and globs, relative to the project, that hold the results of the training, for example ["snapshot.pt", "wandb/"]. They are saved and downloaded, and are outputs for Nx. "artifacts/" (NX_EC2_OUTPUT_DIR) is always an output. With { "path", "download": false } the file stays in the store, and a pointer file is downloaded; the first entry that matches a file decides.',
    ),
  downloadLimit: size
    .prefault('500MB')
    .describe('A larger artifact stays in the store, and a pointer file is downloaded instead.'),
  scratch: z
    .array(text)
    .default([])
    .describe(
      'Files, directories and globs, relative to the project, that the training writes and that are not results, for example downloaded data. They are not saved or listed.',
    ),
  extraLimit: size
    .prefault('10GB')
    .describe(
      'Files that the training writes outside its outputs are saved in the store as well, the smallest first, up to this total size and 10,000 files.',
    ),
  maxArtifactSize: size
    .prefault('100GB')
    .describe(
      'Maximum total size of the outputs that are saved, the smallest files first; if there are more, the target fails, and its instance is kept.',
    ),
  timeout: duration.optional().describe('Time limit of the training, over all attempts, e.g. "8h". Default: none.'),
  gracePeriod: duration.prefault('30s').describe('Time between SIGTERM and SIGKILL.'),
  passEnv: z
    .array(variable)
    .default([])
    .describe(
      'Names of environment variables of this machine to pass to the training. Their values are part of the cache key.',
    ),
  secrets: z
    .record(
      variable,
      z
        .string()
        .regex(/^(ssm|secretsmanager):.+$/, 'must be "ssm:<parameter>" or "secretsmanager:<secret>[#<key>]"')
        .refine(
          (source) => !/^ssm:/.test(source) || !source.includes(`${CALLERS_FOLDER.slice(1)}/`),
          `must not be a parameter below ${CALLERS_FOLDER}/, which only callers may read: it signs the records of runs`,
        )
        .refine(
          // The instance asks the host of the region that the ARN names.
          (source) => !/^\w+:arn:/.test(source) || isRegionId(source.split(':')[4] ?? ''),
          'must have the id of a region in its ARN, e.g. arn:aws:ssm:eu-west-1:123456789012:parameter/name',
        ),
    )
    .default({})
    .describe(
      'Variables whose values are read when the training starts: "ssm:<parameter>" or "secretsmanager:<secret>[#<key of its JSON>]". Masked in the log.',
    ),
  secretsFrom: z
    .enum(['instance', 'client'])
    .default('instance')
    .describe('Who reads the secrets: instance (with its role), or client (this machine, which sends them encrypted).'),
  resumeArgs: words.default([]).describe('Arguments to add in each attempt after the first, and with --resumeFrom.'),
  retry: z
    .strictObject({
      exitCodes: z
        .array(z.int().min(1).max(255))
        .default([])
        .describe('Exit codes after which the training is started again.'),
      attempts: z.int().min(1).max(100).default(3).describe('Maximum number of attempts, including the first.'),
    })
    .prefault({})
    .describe('When to start a failed training again, from its last checkpoint.'),
  checkpoints: z
    .strictObject({
      keep: z.int().min(1).max(1000).default(3).describe('Number of the newest checkpoints to keep in the store.'),
      every: duration
        .optional()
        .describe(
          'Minimum time between saved checkpoints. The last one is always saved. Default: each checkpoint is saved.',
        ),
      paths: z
        .array(text)
        .default([])
        .describe(
          'Files, directories and globs, relative to the project, that hold the checkpoints of the training, for example "output/checkpoint-*". They are saved while it runs, and restored to the same place before it continues.',
        ),
    })
    .prefault({})
    .describe('Checkpoints, in NX_EC2_CHECKPOINT_DIR and in paths, are saved while the training runs.'),
  memory: size.optional().describe('Memory limit of all processes of the training together. Default: no limit.'),
  cores: z
    .int()
    .min(1)
    .optional()
    .describe('Number of processors that all processes of the training together may use. Default: all.'),
  resources: z
    .strictObject({
      exclusive: z.boolean().optional().describe('No other run uses the instance at the same time.'),
      gpus: z.int().min(1).max(64).optional().describe('GPUs that no other run uses at the same time.'),
    })
    .refine(({ exclusive, gpus }) => !exclusive || gpus === undefined, 'takes "exclusive" or "gpus", not both')
    .prefault({})
    .describe(
      'Resources that the run reserves; runs wait for them in order: { "exclusive": true }: the whole instance; { "gpus": 2 }: two of its GPUs. Default: none.',
    ),
  priority: z
    .int()
    .min(-100)
    .max(100)
    .default(0)
    .describe(
      'Order of runs that wait for the resources of an instance: a higher priority first, and runs of equal priority as they came. A run that has its turn is not interrupted.',
    ),
  datasets: z
    .array(
      z.strictObject({
        source: z.string().regex(/^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/.*)?$/, 'must be s3://bucket/prefix'),
        path: text,
        cacheKey: z.boolean().default(false),
      }),
    )
    .default([])
    .describe(
      'Datasets in S3: { "source": "s3://bucket/prefix", "path": "data/corpus" }. The instance fetches each once, to a path relative to the project. "cacheKey": true makes its version part of the cache key.',
    ),
  packageIndex: z
    .url()
    .optional()
    .describe(
      'Package index that the environment is installed from. Default: the one that the instance is configured with.',
    ),
  ...metricsShape,
  onSignal: z
    .enum(['detach', 'stop'])
    .optional()
    .describe('What Ctrl+C or SIGTERM does to the run: detach (it continues) or stop. Default: detach.'),
};

export const trainSchema = z.strictObject(trainShape);

/** How a configuration is checked: a process does it a few times, and zod's generated code is for many. */
export const ONCE = { jitless: true };

/** ec2.config.json: docs/reference/configuration.md. */
export const configurationSchema = z.strictObject({
  $schema: z.string().optional(),
  ...connectionShape,
  sync: syncSchema.prefault({}),
  train: trainSchema.prefault({}),
});
