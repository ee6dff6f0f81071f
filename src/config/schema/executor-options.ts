/**
 * The options that the executors have besides the configuration: the one list of them. The schema.json of each executor
 * is generated from it (scripts/generate/schemas.mjs), and so are its type and the check of what is unknown or empty.
 */

/** `texts`: a text, or a list of texts. `text-or-number` takes words and numbers. */
type Kind = 'string' | 'boolean' | 'number' | 'texts' | 'text-or-number';

interface Option {
  kind: Kind;
  description: string;
  default?: boolean | number;
}

const reporting = {
  verbose: {
    kind: 'boolean',
    description: 'Print details: files that are left out, archives, ids.',
    default: false,
  },
  json: {
    kind: 'boolean',
    description: 'Print one machine-readable line on standard output; the rest goes to standard error.',
    default: false,
  },
} as const satisfies Record<string, Option>;

const dryRun = {
  kind: 'boolean',
  description: 'List the files that would be sent and the files that are left out, with the reason. Nothing is sent.',
  default: false,
} as const satisfies Option;

const force = {
  kind: 'boolean',
  description: 'Overwrite synced files that were changed on the instance, without a copy.',
  default: false,
} as const satisfies Option;

const run = { kind: 'string', description: 'Id of the run. Default: your latest of this project.' } as const;

const rerun = {
  kind: 'boolean',
  description: 'Start a new run even if the same training is active or has succeeded.',
  default: false,
} as const satisfies Option;

const resumeFrom = {
  kind: 'string',
  description: 'Start from the last checkpoint of a run: its id, or `last` for your latest run of this project.',
} as const satisfies Option;

/** Of the targets that open a web page of a server on the instance. */
const toolOptions = (name: string, port: number) =>
  ({
    port: {
      kind: 'number',
      description: `Port of this machine. Default: ${port}, or another one if that is in use.`,
    },
    open: { kind: 'boolean', description: `Open ${name} in the browser.`, default: false },
    run: {
      kind: 'string',
      description:
        'Id of the run, whose instance is used, and the next one after a recovery; `last`: your latest. Default: the latest run on the configured instance; with a launch spec, your latest run while it is active.',
    },
    node: { kind: 'number', description: 'Rank of the node of a run on several. Default: 0, the first.' },
  }) as const satisfies Record<string, Option>;

/** The options of each executor by its name, in the order of its schema. */
export const EXECUTOR_OPTIONS = {
  'remote-sync': { dryRun, force, ...reporting },
  'remote-watch': { force, ...reporting },
  'remote-train': { dryRun, force, rerun, resumeFrom, ...reporting },
  'remote-submit': { dryRun, force, rerun, resumeFrom, ...reporting },
  'remote-logs': {
    run,
    since: {
      kind: 'string',
      description: 'Begin at this time: a duration before now ("10m"), or a time ("2026-11-25T10:00").',
    },
    tail: { kind: 'number', description: 'Begin with this number of last lines.' },
    node: {
      kind: 'text-or-number',
      description:
        'Show the log of this node of a run on several: its rank; all: those of all nodes, each line with its node. Default: 0, the first.',
    },
    follow: {
      kind: 'boolean',
      description: 'Follow the log until the run has ended; false: print the log so far.',
      default: true,
    },
    ...reporting,
  },
  'remote-status': {
    run: { kind: 'string', description: 'Show this run in full; `last`: your latest. Default: list the runs.' },
    watch: {
      kind: 'boolean',
      description:
        'Look again and again until no run is active: on a terminal as a table that is drawn in place, elsewhere with a line for each run that has changed.',
      default: false,
    },
    interval: { kind: 'string', description: 'With --watch: the time between two looks, "1s" to "1h". Default: 5s.' },
    limit: { kind: 'number', description: 'Number of runs to list, newest first.', default: 20 },
    ...reporting,
  },
  'remote-cancel': {
    run,
    force: { kind: 'boolean', description: 'Stop the run even if someone else started it.', default: false },
    ...reporting,
  },
  'remote-pull': {
    run,
    path: {
      kind: 'texts',
      description:
        'Paths or globs of artifacts to fetch, relative to the project, extra files too; those outside the project begin with {workspaceRoot}/, those of a checkpoint with artifacts/checkpoints/<number>/. Default: all outputs.',
    },
    checkpoints: {
      kind: 'text-or-number',
      description: 'Checkpoints to fetch: none, last, all, or a number. Default: none.',
    },
    output: {
      kind: 'string',
      description:
        'Directory to write to, relative to the project: artifacts/model.pt becomes <output>/artifacts/model.pt. Default: the project.',
    },
    node: {
      kind: 'number',
      description:
        'Fetch only what this node of a run on several has saved: its rank. Default: all nodes; of several files with one path, that of the lowest rank.',
    },
    overwrite: {
      kind: 'boolean',
      description: 'Replace local files that differ. Files that git tracks are never replaced.',
      default: false,
    },
    ...reporting,
  },
  'remote-exec': {
    run: {
      kind: 'string',
      description:
        'Run it in the directory and environment of this run; `last`: your latest. Default: in the synced files.',
    },
    command: {
      kind: 'texts',
      description: 'The command: a string that is split into words like in a shell, or an array.',
    },
    ...reporting,
  },
  'remote-shell': { run, ...reporting },
  'remote-forward': {
    port: {
      kind: 'texts',
      description:
        'A port of the instance, as 6006; 8888:9999 for another one on this machine. Can be given several times. Without a second number, another local port is taken if the same one is in use.',
    },
    open: { kind: 'boolean', description: 'Open the first port in the browser.', default: false },
    run: {
      kind: 'string',
      description:
        "Forward ports of this run's instance, and of the next one after a recovery; `last`: your latest. Default: the instance of the configuration; with a launch spec, that of your latest run while it is active.",
    },
    node: {
      kind: 'number',
      description: 'Forward ports of this node of a run on several: its rank. Default: 0, the first.',
    },
    ...reporting,
  },
  'remote-tensorboard': {
    logdir: {
      kind: 'string',
      description: 'Directory with event files, relative to the project. Default: the project.',
    },
    ...toolOptions('TensorBoard', 6006),
    run: {
      kind: 'string',
      description:
        'Id of the run, or of several, separated by commas; `last`: your latest. Of several, and of one whose instance is gone, the saved event files are shown on this machine. Default: the latest run on the configured instance; with a launch spec, your latest run while it is active.',
    },
    ...reporting,
  },
  'remote-jupyter': { ...toolOptions('Jupyter', 8888), ...reporting },
  'remote-dashboard': { ...toolOptions("Ray's dashboard", 8265), ...reporting },
  'remote-ssh-config': {
    host: {
      kind: 'string',
      description: 'Name of the host in the configuration of ssh. Default: nx-ec2-<project>.',
    },
    install: {
      kind: 'boolean',
      description: 'Add the line to ~/.ssh/config that includes the hosts of nx-ec2, unless it is there.',
      default: false,
    },
    port: {
      kind: 'number',
      description: 'Port that the SSH server of the instance listens on.',
      default: 22,
    },
    run: {
      kind: 'string',
      description:
        "Connect to this run's instance, and to the next one after a recovery; `last`: your latest. Default: the instance of the configuration; with a launch spec, that of your latest run while it is active.",
    },
    node: {
      kind: 'number',
      description: 'Connect to this node of a run on several: its rank. Default: 0, the first.',
    },
    ...reporting,
  },
  'remote-up': { ...reporting },
  'remote-down': {
    stop: {
      kind: 'boolean',
      description: 'Stop the instance and keep its disk, instead of terminating it.',
      default: false,
    },
    force: {
      kind: 'boolean',
      description: 'Also if a run is active there, or if it was launched for someone else.',
      default: false,
    },
    ...reporting,
  },
  'remote-doctor': { ...reporting },
} as const satisfies Record<string, Record<string, Option>>;

export type TargetName = keyof typeof EXECUTOR_OPTIONS;

/** The names of an executor's own options. */
export function executorOptions(target: TargetName): string[] {
  return Object.keys(EXECUTOR_OPTIONS[target]);
}

/** Whether an executor's own option is a number; the others are text, or no numbers at all. */
export function isNumber(target: TargetName, name: string): boolean {
  const options: Record<string, Option> = EXECUTOR_OPTIONS[target];
  return Object.hasOwn(options, name) && options[name].kind === 'number';
}

interface ValueOf {
  string: string;
  boolean: boolean;
  number: number;
  texts: string | string[];
  'text-or-number': string | number;
}

type Own<Options extends Record<string, Option>> = { [Name in keyof Options]?: ValueOf[Options[Name]['kind']] };

/** What Nx hands to an executor: its own options, and keys of the configuration, which src/config validates. */
export type ExecutorOptions<Target extends TargetName> = Own<(typeof EXECUTOR_OPTIONS)[Target]> & {
  [configuration: string]: unknown;
};
