import { hostname } from 'node:os';
import type { Aws } from '../../aws/clients';
import type { Price, Restore, RunPart } from '../../command/plan';
import { priceOf } from '../../instance/price/price';
import { describeEnvironment, detectEnvironment } from '../../config/environment/environment';
import { gitState } from '../../workspace/git/git';
import { instanceEndpoints, storeAccess } from '../../context/store-access';
import { environmentNeeds, type EnvironmentNeeds } from '../../project/environment-needs';
import { decidingSettings, runDescription, runSettings } from './run-settings';
import { readSecrets } from './secrets';
import { nodesSetting } from '../../config/settings/nodes';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { join, posix } from 'node:path';
import { existsSync } from 'node:fs';
import { dataVersion } from '../../store/data-version';
import type { HeldRun } from '../pool/move-waiting';
import type { TerminatedAttempt } from '../record/lease';
import type { RunKeys } from '../../store/signing-keys';
import type { Snapshot } from '../../snapshot/snapshot';
import { assertUnixLineEndings } from '../../project/line-ends';
import { newRunId, runKey } from '../record/run-id';
import type { Scanned } from '../../project/scan-project';
import type { Configuration } from '../../config/settings/types';
import type { RunContext } from '../../context/types';

/** What is known of a run before the snapshot is: what decides its result, and what is only told to the instance. */
export interface PlannedRun {
  id: string;
  /** One line on the environment that it has. */
  environment: string;
  /** What its set-up needs of an instance. */
  needs(): EnvironmentNeeds | null;
  /** What makes two trainings the same. */
  key(snapshot: Snapshot): string;
  /**
   * @param tree the one that its plan names.
   */
  part(context: RunContext, tree: string, snapshot: Snapshot, as?: RunPlace): Promise<RunPart>;
}

/** Which part of which run is started. */
export interface RunPlace {
  /** The run to resume instead of starting a new one, and its next attempt. */
  next?: NextAttempt;
  /** A node other than the first, and the run that the first one has started. */
  node?: {
    run: string;
    rank: number;
    /** How many nodes the next attempt has, for which this one is prepared; absent: it is of this attempt. */
    joins?: number;
  };
}

export interface NextAttempt {
  id: string;
  attempt: number;
  /** Of the record that this attempt follows: a run is not resumed from an older record. */
  heartbeat: number;
  /** The attempt before, if EC2 says that it can't write any more. */
  terminated?: TerminatedAttempt;
  /** The run waits on another instance, which holds it. */
  waiting?: HeldRun;
}

export interface PlanRunOptions {
  rerun: boolean;
  detached: boolean;
  restore: Restore | null;
  /** To look up the versions of keyed data with; null where nothing is to be started. */
  aws: Aws | null;
  /** The price of the instance that was launched for it; requested when the instance is known. */
  price?: () => Price | null;
  /** How many nodes the attempt has, once they are launched; absent: as many as are configured. */
  nodes?: () => number;
}

/** The run that a plan starts. Throws where the script is not among the files that are sent. */
export async function planRun(
  configuration: Configuration,
  project: string,
  scanned: Scanned,
  workspaceRoot: string,
  options: PlanRunOptions,
): Promise<PlannedRun> {
  const { train } = configuration;
  assertCommandsAreSent(configuration, scanned, workspaceRoot);
  const git = gitState(workspaceRoot);
  const environment = environmentOf(configuration, scanned, workspaceRoot);
  const env = { ...passedVariables(train.passEnv), ...train.env };
  const keyed = train.datasets.filter((each) => each.cacheKey);
  const versions = options.aws && (await Promise.all(keyed.map(({ source }) => dataVersion(options.aws!, source))));
  // Its time decides which run is the last one, and a fleet's deadline.
  const id = newRunId(project, new Date(options.aws ? await options.aws.now() : Date.now()));
  return new TrainingPlan(id, { configuration, project, workspaceRoot, options, environment, env, versions, git });
}

/** What a plan is made of. */
interface PlanInputs {
  configuration: Configuration;
  project: string;
  workspaceRoot: string;
  options: PlanRunOptions;
  environment: ReturnType<typeof detectEnvironment>;
  /** Variables of the training but for its secrets. */
  env: Record<string, string>;
  /** Of the datasets that are part of the key; null where they were not looked up. */
  versions: string[] | null;
  git: ReturnType<typeof gitState>;
}

class TrainingPlan implements PlannedRun {
  private readonly decides: ReturnType<typeof decidingSettings>;

  constructor(
    readonly id: string,
    private readonly of: PlanInputs,
  ) {
    this.decides = decidingSettings(of.configuration, of.project, of.environment.environment);
  }

  get environment(): string {
    return describeEnvironment(this.of.environment);
  }

  needs(): EnvironmentNeeds | null {
    const { environment, configuration, workspaceRoot } = this.of;
    return environmentNeeds(environment, configuration.train, workspaceRoot);
  }

  key({ id: snapshot }: Snapshot): string {
    const { env, versions, configuration, options } = this.of;
    return runKey({
      ...this.decides,
      // Keys of trainings without these stay as they were.
      launcher: this.decides.launcher ?? undefined,
      nodes: nodesSetting(configuration.train),
      env,
      secrets: configuration.train.secrets,
      snapshot,
      versions: versions?.length ? versions : undefined,
      resumeFrom: options.restore && { run: options.restore.run, n: options.restore.n },
    });
  }

  async part(context: RunContext, tree: string, snapshot: Snapshot, { next, node }: RunPlace = {}): Promise<RunPart> {
    const { configuration, workspaceRoot, options, env } = this.of;
    const { train, instance } = configuration;
    context.printer.detail(this.environment);
    const id = node?.run ?? next?.id ?? this.id;
    const rank = node?.rank ?? 0;
    const isAlone = train.nodes === 1;
    const network =
      'launchSpec' in instance && instance.launchSpec.network ? { network: instance.launchSpec.network } : {};
    // Nodes read what the others have written, which no form allows.
    const detached = options.detached || !isAlone;
    const read = train.secretsFrom === 'client' ? await readSecrets(context.aws, train.secrets) : {};
    const [store, caller, git, signer] = await Promise.all([
      storeAccess(context, context.keys.node(id, rank), !detached),
      context.caller(),
      this.of.git,
      signingKeys(context, id),
    ]);
    const identity = { runKey: this.key(snapshot), snapshot: snapshot.id, caller, tree };
    return {
      id,
      runKey: identity.runKey,
      ...this.decides,
      ...runSettings(configuration, workspaceRoot),
      env: { ...env, ...read },
      node: isAlone
        ? null
        : {
            rank,
            ...(node?.joins ? { count: node.joins, joins: true } : { count: options.nodes?.() ?? train.nodes }),
            ...network,
          },
      // Which run it is, the first node has decided.
      rerun: options.rerun || rank > 0,
      knownFailed: null,
      caller,
      detached,
      store,
      resumeFrom: options.restore,
      nextAttempt: next ? nextAttemptOf(next) : null,
      mask: Object.keys(read),
      endpoints: instanceEndpoints(),
      metadata: {
        git,
        ...runDescription(configuration),
        host: hostname(),
        price: options.price?.() ?? (await configuredPrice(configuration, context.aws)),
      },
      signingKey: signer.key.toString('base64'),
      identity: signer.identity(identity).toString('hex'),
    };
  }
}

function nextAttemptOf({ attempt, heartbeat, terminated, waiting }: NextAttempt): RunPart['nextAttempt'] {
  return { attempt, heartbeat, ...(terminated && { terminated }), ...(waiting && { waiting }) };
}

function environmentOf({ projectRoot, train }: Configuration, { files }: Scanned, workspaceRoot: string) {
  const { environment, command = null, setup, script } = train;
  const choice = { environment, command, setup, ...(script ? { script } : {}) };
  return detectEnvironment({ workspaceRoot, projectRoot, paths: files.paths, choice });
}

/** What a run's record is signed with. Says where this machine alone can verify it. */
async function signingKeys({ store, keys, printer }: RunContext, run: string): Promise<RunKeys> {
  const { keys: signer, local } = await store.signingKeys.forStart({ keys, run });
  if (local) {
    const reason = [local.what, local.aws && `${local.aws.code}: ${local.aws.message}`].filter(Boolean).join(' ');
    printer.warn(
      sanitizeForTerminal(
        `Only this machine can verify the record of ${run}: other machines show the run as unverified, and the same training started there does not find it. ` +
          `The secret of the store is not available: ${reason} The CallerPolicy of nx g nx-ec2:aws-setup allows ssm:GetParameter and ssm:PutParameter on it.`,
      ),
    );
  }
  return signer;
}

async function configuredPrice({ pricePerHour, instance }: Configuration, aws: Aws): Promise<Price | null> {
  if (pricePerHour === undefined) return null;
  const market = 'launchSpec' in instance && instance.launchSpec.spot === true ? 'spot' : 'on-demand';
  return priceOf(aws, { type: '', market }, pricePerHour);
}

/** Variables of this machine to pass to the training. An unset one is an error, so that none is left out silently. */
function passedVariables(names: string[]): Record<string, string> {
  const missing = names.filter((name) => process.env[name] === undefined);
  if (missing.length) {
    throw new Problem('ENV_MISSING', `"train.passEnv" names ${missing.join(', ')}, which is not set here.`, {
      next: 'Export it, or remove it from "train.passEnv".',
    });
  }
  return Object.fromEntries(names.map((name) => [name, process.env[name]!]));
}

/** @throws Problem where the script is not sent, or a script that the commands name has line endings of Windows. */
function assertCommandsAreSent(configuration: Configuration, scanned: Scanned, workspaceRoot: string): void {
  const { projectRoot, train } = configuration;
  if (train.script) assertScriptExists(configuration, train.script, scanned, workspaceRoot);
  const sent = new Set(scanned.files.paths);
  for (const command of [train.command ?? [], ...(train.setup ?? [])])
    assertUnixLineEndings(workspaceRoot, projectRoot, command, sent);
}

function assertScriptExists(
  configuration: Configuration,
  script: string,
  scanned: Scanned,
  workspaceRoot: string,
): void {
  const path = posix.join(configuration.projectRoot, script);
  if (scanned.snapshot.entries.some((entry) => entry.path === path)) return;
  const there = existsSync(join(workspaceRoot, path));
  throw new Problem(
    'SCRIPT_MISSING',
    there ? `The script ${path} is not among the files that are sent.` : `The script ${path} does not exist.`,
    {
      next: there
        ? 'It is git-ignored or excluded: name it in "sync.include". --dryRun lists the files that are left out.'
        : 'Set "train.script" (relative to the project) in ec2.config.json, or --script.',
    },
  );
}
