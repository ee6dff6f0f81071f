/**
 * What the client asks of the runtime. The client never parses a plan, so import types alone from here: zod is not
 * loaded for it. The descriptions are those of docs/reference/fields.md.
 */
import { z } from 'zod';
import { nextAttempt } from './next-attempt';
import { resources, runMetadata } from './run';
import { count } from './values';

const text = z.string();
const seconds = z.number();

export const presignedPost = z.object({ url: text, fields: z.record(text, text) });

const pieceStep = z.tuple([text, z.number(), z.number()]).readonly();
const recipe = z.array(z.union([text, pieceStep]));

export const syncSpec = z.object({
  snapshot: text,
  base: text.nullable().describe('The snapshot that the tree should hold.'),
  canonical: text.nullable().describe('The canonical form of the whole snapshot; null: it follows from the base.'),
  delta: z
    .object({ deleted: z.array(text), entries: text })
    .nullable()
    .describe('The change from the base; null, and `canonical` null: the snapshot is the base.'),
  history: z
    .array(z.object({ snapshot: text, url: text }))
    .describe("Manifests, from a full one to the base's, for a tree that does not hold the base."),
  recipes: z
    .record(text, recipe)
    .describe(
      'By content, its pieces in order: a recipe of chunks, or `["<content of the base>", <offset>, <bytes>]`.',
    ),
  packs: z
    .array(
      z.object({
        sha256: text,
        size: count,
        url: text,
        spare: z.boolean(),
        wait: seconds.describe('Its upload has not ended: it is looked for so long; 0: it is in the store.'),
      }),
    )
    .describe('A spare pack is used only for what the others lack.'),
  inline: z.record(text, text).describe('Contents that are in no pack: zlib, base64.'),
  archive: z.object({ url: text, sha256: text, size: count }).nullable(),
  limits: z.object({ entries: count, bytes: count }),
  force: z.boolean().describe('Files that were changed on the instance are overwritten without a copy.'),
});

export const storeAccess = z.object({
  access: z.enum(['auto', 'role', 'presigned']),
  bucket: text,
  region: text,
  endpoint: text.nullable().describe('A URL without a path; null: that of AWS.'),
  pathStyle: z.boolean(),
  owner: text.nullable().describe('The account that must own the bucket.'),
  kms: text.nullable().describe('The key that S3 encrypts with.'),
  prefix: text.describe('All keys are below it.'),
  post: presignedPost.nullable(),
  expires: z.number().nullable().describe('When `post` expires, ms.'),
});

export const environmentManager = z.enum(['uv', 'poetry', 'conda', 'pip', 'none']);
export const installer = z.enum(['auto', 'uv', 'pip']);
export const limits = z.object({ files: count, bytes: count });

export const pathRule = z.object({
  pattern: text.describe(
    'A regular expression that must match the whole of a project-relative path, or of a directory above it; `.` is any character.',
  ),
  base: text.describe('The directory that it can match in, or the path itself if it has no wildcards.'),
});

export const resumeSource = z.object({
  run: text,
  n: count,
  sha256: text.describe("Of the checkpoint's object."),
  prefix: text.describe("The key prefix of the checkpoint's run."),
  urls: z.record(text, text).nullable().describe('Presigned GETs of the objects below `prefix`; null: the role reads.'),
  nodes: z
    .array(z.object({ rank: count, n: count, sha256: text.describe("Of the node's own object.") }))
    .max(1000)
    .describe('What other nodes of the run have saved of the checkpoint, below `node/<rank>/` of `prefix`.'),
});

export const runSpec = z.object({
  id: text,
  runKey: text.describe('The hash of everything that decides the result: equal for equal trainings.'),
  project: text,
  projectRoot: text.describe('Workspace-relative.'),
  script: text.nullable().describe('Project-relative.'),
  command: z.array(text).nullable(),
  args: z.array(text),
  environment: z.object({
    manager: environmentManager,
    root: text.describe('The directory of the dependency file, workspace-relative.'),
    file: text.describe('The name of the dependency file.'),
    locked: z.boolean(),
  }),
  installer: installer.describe('The program that installs a requirements.txt.'),
  setup: z.array(z.array(text)).nullable().describe("null: the manager's own set-up; `[]`: none."),
  env: z.record(text, text),
  outputDir: text.describe('Project-relative.'),
  timeout: seconds.nullable(),
  gracePeriod: seconds,
  rerun: z.boolean(),
  knownFailed: text
    .nullable()
    .describe('A run of the same key that has failed: neither it nor an earlier one is found again.'),
  caller: text.describe('An ARN.'),
  detached: z.boolean().describe("No client renews the form, so the instance's role is needed."),
  store: storeAccess,
  artifacts: z.object({
    outputs: z.array(pathRule),
    scratch: z.array(pathRule).describe('Paths that are no results.'),
    numbered: z
      .array(text)
      .describe('Directories that are made empty before the training, so that its framework numbers the next one.'),
    limits,
    extra: limits.describe('For files outside the outputs.'),
  }),
  checkpoints: z.object({
    keep: count,
    every: seconds.nullable(),
    paths: z.array(pathRule).describe('Checkpoints in the project.'),
  }),
  resumeFrom: resumeSource.nullable().describe('The checkpoint of another run that the training resumes from.'),
  nextAttempt: nextAttempt
    .nullable()
    .describe('The run continues as this attempt from what the store has of it. `heartbeat`: that of the record read.'),
  node: z
    .object({
      rank: count,
      count,
      timeouts: z
        .object({ start: seconds, replacement: seconds })
        .optional()
        .describe(
          'How long the nodes of the first attempt, or of a later one, wait for a node that has not begun it. For nodes with a fleet; absent: 2 minutes.',
        ),
      elastic: z
        .object({
          least: count,
          growAfter: seconds.nullable().describe('null: an attempt is not ended for one on more nodes.'),
        })
        .optional()
        .describe(
          'With fleets: `count` is how many there can be at most, or of an attempt how many it has. An attempt begins on `least` or more.',
        ),
      network: z.literal('efa').optional().describe('The instances were launched with Elastic Fabric Adapters.'),
      joins: z
        .boolean()
        .optional()
        .describe(
          'The run trains without this node: it is prepared, and ends with the reason `growth` when it is ready for the next attempt.',
        ),
    })
    .nullable()
    .describe(
      'The node that this instance is, of a run on several; null: the run has one. `store.prefix` is that of the node: below that of the run, `node/<rank>/`, but for the first one.',
    ),
  limits: z.object({ memory: count.nullable(), cores: z.number().nullable() }),
  resources,
  priority: z.number().int().describe('Of runs that wait for resources, the highest gets its turn first.').optional(),
  launcher: z
    .object({
      name: text.describe('`torchrun`, `accelerate` or `ray`.'),
      processes: z.union([count, z.literal('gpu')]).describe('`gpu`: one for each GPU of the run.'),
      option: z
        .object({ position: count, name: text })
        .nullable()
        .describe(
          'An option of `command` that gets their number, and its position; null: the runtime starts torchrun, or Ray.',
        ),
    })
    .nullable()
    .describe('What starts the processes of the training; null: it is one process, or starts others by itself.'),
  retry: z.object({ exitCodes: z.array(z.number().int()), attempts: count }),
  resumeArgs: z.array(text),
  secrets: z
    .record(text, text)
    .describe('`ssm:<parameter>` or `secretsmanager:<secret>[#<key>]`, read by the role of the instance.'),
  mask: z.array(text).describe('Variables of `env` whose values are secret.'),
  datasets: z.array(z.object({ source: text, path: text })),
  endpoints: z
    .object({ s3: text.nullable(), ssm: text.nullable(), secretsmanager: text.nullable() })
    .describe("In place of AWS's."),
  packageIndex: text.nullable(),
  metrics: z.object({ file: text.nullable(), idle: seconds.nullable() }),
  metadata: runMetadata.describe('Goes into the record unchanged.'),
  signingKey: text.describe('Base64; it signs the record. It is sent in the command, never in a plan in the store.'),
  identity: text.describe('Hex; signed by the client: [Signed records](formats.md#runs-in-the-store).'),
});

/** Which `remote-watch` command starts a watcher. */
export const watchClient = z.object({
  id: text.describe('16 hex.'),
  restart: z
    .boolean()
    .describe(
      'The command starts its watcher again. This fails with `WATCH_SUPERSEDED` if another one has started a watcher of the tree since.',
    ),
});

export const watchSpec = z.object({
  watchId: text,
  prefix: text.describe('The key prefix in the store; ends in a slash.'),
  urls: z.array(text).describe('Presigned GETs of the first edits.'),
  post: presignedPost,
  lease: seconds,
  client: watchClient,
});

/** A message to the watcher. */
export const edit = z.object({
  v: z.literal(1),
  n: count,
  sync: syncSpec.nullable().describe('null: a heartbeat.'),
  urls: z.record(text, text).describe('Presigned GETs of edits to come, by their numbers.'),
  post: presignedPost.nullable(),
  end: z.boolean(),
});

export const environmentTool = z.object({
  manager: environmentManager,
  installer,
  locked: z.boolean(),
  packageIndex: text.nullable(),
  packageIndexes: z.array(text).describe('Those that the requirements files of the project name.'),
});

export const execSpec = z.object({
  id: text,
  projectRoot: text.nullable().describe("Workspace-relative; null: the directory of the run's training."),
  argv: z.array(text),
  timeout: seconds.nullable(),
  gracePeriod: seconds,
});

/** The fields of every plan. */
export const planEnvelope = z.object({
  v: z.literal(1),
  root: text.nullable(),
  runtime: z.object({ url: text }),
  user: text.nullable().describe('null: a login name of a known image, else the user that the agent runs as.'),
});

export const syncOperation = z.object({ op: z.literal('sync'), tree: text, sync: syncSpec });
export const trainOperation = z.object({
  op: z.literal('train'),
  tree: text,
  sync: syncSpec,
  run: runSpec,
});
export const watchOperation = z.object({ op: z.literal('watch'), tree: text, sync: syncSpec, watch: watchSpec });
export const pollOperation = z.object({ op: z.literal('poll'), run: text, offset: count });
export const cancelOperation = z.object({
  op: z.literal('cancel'),
  run: text,
  gracePeriod: seconds,
  attempt: count
    .optional()
    .describe(
      'Only this attempt is stopped, with the reason `growth`: the next one has more nodes. Absent: the run is.',
    ),
});
export const holdOperation = z.object({
  op: z.literal('hold'),
  run: text,
  attempt: count.describe('Only this one is held.'),
});
export const execOperation = z.object({ op: z.literal('exec'), run: text.nullable(), tree: text, exec: execSpec });
export const renewOperation = z.object({ op: z.literal('renew'), run: text, store: storeAccess.nullable() });
export const doctorOperation = z.object({
  op: z.literal('doctor'),
  probe: z.object({ get: text, sha256: text, post: presignedPost, objectKey: text }),
  store: storeAccess,
  secret: z
    .object({ parameter: text, endpoint: text.nullable() })
    .describe("The parameter that the instance's role must not be able to read."),
  environment: environmentTool.nullable(),
});
export const readyOperation = z.object({ op: z.literal('ready'), environment: environmentTool });
export const activityOperation = z.object({
  op: z.literal('activity'),
  watchdog: z.boolean().describe('Fails if no watchdog runs for this root.'),
  queue: z.boolean().describe('The reply tells the queue for the resources of the instance.').optional(),
});

export type SyncPart = z.infer<typeof syncSpec>;
export type RecipeStep = string | z.infer<typeof pieceStep>;
export type EnvironmentManager = z.infer<typeof environmentManager>;
export type Limits = z.infer<typeof limits>;
export type RunPart = z.infer<typeof runSpec>;
export type Access = z.infer<typeof storeAccess>;
export type Restore = z.infer<typeof resumeSource>;
export type WatchPart = z.infer<typeof watchSpec>;
export type Edit = z.infer<typeof edit>;
export type EnvironmentTool = z.infer<typeof environmentTool>;
export type ExecPart = z.infer<typeof execSpec>;
export type Plan = z.infer<typeof planEnvelope>;
/** The key of the record is not in the plan, which may lie in the store: the command has it. */
type TrainOperation = Omit<z.infer<typeof trainOperation>, 'run'> & { run: Omit<RunPart, 'signingKey'> };
export type Operation =
  | TrainOperation
  | z.infer<
      | typeof syncOperation
      | typeof watchOperation
      | typeof pollOperation
      | typeof cancelOperation
      | typeof holdOperation
      | typeof execOperation
      | typeof renewOperation
      | typeof doctorOperation
      | typeof readyOperation
      | typeof activityOperation
    >;
