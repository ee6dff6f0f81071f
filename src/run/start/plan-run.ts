import { hostname } from 'node:os';
import type { Aws } from '../../aws/clients';
import type { Price, Restore, RunFacts, RunPart } from '../../command/plan';
import { priceOf } from '../../instance/price/price';
import { describeEnvironment, detectEnvironment } from '../../config/environment';
import { gitState } from '../../workspace/git';
import { instanceEndpoints, storeAccess } from '../../context/store-access';
import { OUTPUT_DIRECTORY, outputRule } from '../../config/outputs';
import { environmentNeeds, type EnvironmentNeeds } from '../../project/environment-needs';
import { numberedDirectories } from '../artifacts/numbered-directories';
import { readSecrets } from './secrets';
import { nameOf } from '../status/status';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { join, posix } from 'node:path';
import { existsSync } from 'node:fs';
import { dataVersion } from '../../store/data-version';
import type { RunKeys } from '../../store/record-keys';
import type { Snapshot } from '../../snapshot/snapshot';
import { assertUnixLineEndings } from '../../project/line-ends';
import { MAX_EXTRA_FILES, MAX_FILES } from '../record/file-lists';
import { newRunId, runKey } from '../record/run-id';
import type { Scanned } from '../../project/scan-project';
import type { Configuration } from '../../config/types';
import type { RunContext } from '../../context/types';
import { describeQueue } from '../follow/show-run';

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
   * @param goOn the run that is gone on with instead of a new one, and its next attempt.
   */
  part(session: RunContext, tree: string, snapshot: Snapshot, goOn?: NextAttempt): Promise<RunPart>;
}

export interface NextAttempt {
  id: string;
  attempt: number;
  /** Of the record that this follows from: an older one is not gone on from. */
  heartbeat: number;
}

export interface PlanRunOptions {
  rerun: boolean;
  detached: boolean;
  restore: Restore | null;
  /** To look up the versions of keyed data with; null where nothing is to be started. */
  aws: Aws | null;
  /** What the instance costs that was made for it; asked when it is there. */
  price?: () => Price | null;
}

/** The run that a plan starts. Throws where the script is not among the files that are sent. */
export async function planRun(
  configuration: Configuration,
  project: string,
  scanned: Scanned,
  workspaceRoot: string,
  options: PlanRunOptions,
): Promise<PlannedRun> {
  const train = configuration.train;
  if (train.script) assertScriptExists(configuration, train.script, scanned, workspaceRoot);
  const sent = new Set(scanned.files.paths);
  for (const command of [train.command ?? [], ...(train.setup ?? [])])
    assertUnixLineEndings(workspaceRoot, configuration.projectRoot, command, sent);
  const git = gitState(workspaceRoot);
  const found = detectEnvironment({
    workspaceRoot,
    projectRoot: configuration.projectRoot,
    paths: scanned.files.paths,
    choice: {
      environment: train.environment,
      command: train.command ?? null,
      setup: train.setup,
      ...(train.script ? { script: train.script } : {}),
    },
  });
  const { environment } = found;
  const env = { ...passedVariables(train.passEnv), ...train.env };
  const keyed = train.datasets.filter((each) => each.cacheKey);
  const versions = options.aws && (await Promise.all(keyed.map(({ source }) => dataVersion(options.aws!, source))));
  const id = newRunId(project, new Date());
  const decides = {
    project,
    projectRoot: configuration.projectRoot,
    script: train.script ?? null,
    command: train.command ?? null,
    args: train.args,
    environment,
    setup: train.setup,
    outputDir: OUTPUT_DIRECTORY,
    packageIndex: train.packageIndex ?? null,
    datasets: train.datasets.map(({ source, path }) => ({ source, path })),
    resources: train.resources,
  };
  const key = (snapshot: Snapshot) =>
    runKey({
      ...decides,
      env,
      secrets: train.secrets,
      snapshot: snapshot.id,
      versions: versions?.length ? versions : undefined,
      resumeFrom: options.restore && { run: options.restore.run, n: options.restore.n },
    });
  return {
    id,
    environment: describeEnvironment(found),
    needs: () => environmentNeeds(found, train, workspaceRoot),
    key,
    async part(session, tree, snapshot, goOn) {
      session.reporter.detail(describeEnvironment(found));
      const read = train.secretsFrom === 'client' ? await readSecrets(session.aws, train.secrets) : {};
      const [store, caller, gitNow, signer] = await Promise.all([
        storeAccess(session, goOn?.id ?? id, !options.detached),
        session.caller(),
        git,
        signingKeys(session, goOn?.id ?? id),
      ]);
      const identity = { runKey: key(snapshot), snapshot: snapshot.id, caller, tree };
      return {
        id: goOn?.id ?? id,
        runKey: identity.runKey,
        ...decides,
        env: { ...env, ...read },
        installer: train.installer,
        timeout: seconds(train.timeout),
        gracePeriod: Math.ceil(train.gracePeriod / 1000),
        rerun: options.rerun,
        knownFailed: null,
        caller,
        detached: options.detached,
        store,
        artifacts: {
          outputs: train.outputs.map(outputRule),
          scratch: train.scratch.map(outputRule),
          numbered: numberedDirectories(workspaceRoot, configuration.projectRoot, train.outputs),
          limits: { files: MAX_FILES, bytes: train.maxArtifactSize },
          extra: { files: MAX_EXTRA_FILES, bytes: train.extraLimit },
        },
        checkpoints: {
          keep: train.checkpoints.keep,
          every: seconds(train.checkpoints.every),
          paths: train.checkpoints.paths.map(outputRule),
        },
        resumeFrom: options.restore,
        nextAttempt: goOn ? { attempt: goOn.attempt, heartbeat: goOn.heartbeat } : null,
        limits: { memory: train.memory ?? null, cores: train.cores ?? null },
        retry: train.retry,
        resumeArgs: train.resumeArgs,
        secrets: train.secretsFrom === 'instance' ? train.secrets : {},
        mask: Object.keys(read),
        endpoints: instanceEndpoints(),
        metrics: {
          file: train.metrics.file ?? null,
          idle: train.metrics.idle === false ? null : seconds(train.metrics.idle),
        },
        metadata: {
          git: gitNow,
          command: [train.script ?? train.command, ...train.args].flat().join(' '),
          recovery: 'described' in configuration.instance ? configuration.instance.described.recovery : 'none',
          configuration: describeConfiguration(configuration),
          host: hostname(),
          price: options.price?.() ?? (await configuredPrice(configuration, session.aws)),
        },
        recordKey: signer.key.toString('base64'),
        identity: signer.identity(identity).toString('hex'),
      };
    },
  };
}

/** What a run's record is signed with. Says where this machine alone can verify it. */
async function signingKeys({ store, keys, reporter }: RunContext, run: string): Promise<RunKeys> {
  const { keys: signer, local } = await store.recordKeys.forStart({ keys, run });
  if (local) {
    const reason = [local.what, local.aws && `${local.aws.code}: ${local.aws.message}`].filter(Boolean).join(' ');
    reporter.warn(
      sanitizeForTerminal(
        `Only this machine can verify the record of ${run}: elsewhere the run is shown as unverified, and is not found by the same training. ` +
          `The secret of the store is not to be had: ${reason} The CallerPolicy of nx g nx-ec2:aws-setup allows ssm:GetParameter and ssm:PutParameter on it.`,
      ),
    );
  }
  return signer;
}

async function configuredPrice({ pricePerHour, instance }: Configuration, aws: Aws): Promise<Price | null> {
  if (pricePerHour === undefined) return null;
  const market = 'described' in instance && instance.described.spot === true ? 'spot' : 'on-demand';
  return priceOf(aws, { type: '', market }, pricePerHour);
}

function seconds(ms: number | undefined): number | null {
  return ms === undefined ? null : Math.ceil(ms / 1000);
}

/** Variables of this machine that go along. One that is not set is named, not left out silently. */
function passedVariables(names: string[]): Record<string, string> {
  const missing = names.filter((name) => process.env[name] === undefined);
  if (missing.length) {
    throw new Problem('ENV_MISSING', `"train.passEnv" names ${missing.join(', ')}, which is not set here.`, {
      next: 'Export it, or take it out of "train.passEnv".',
    });
  }
  return Object.fromEntries(names.map((name) => [name, process.env[name]!]));
}

/** What decides a run's result, as far as anybody may read it: names of variables and secrets, not their values. */
function describeConfiguration({ train, pricePerHour }: Configuration): Record<string, unknown> {
  const {
    script,
    command,
    args,
    environment,
    setup,
    outputs,
    env,
    secrets,
    datasets,
    resources,
    retry,
    memory,
    cores,
  } = train;
  return {
    script,
    command,
    args,
    environment,
    setup,
    outputs,
    datasets,
    resources,
    retry,
    memory,
    cores,
    pricePerHour,
    env: Object.keys(env).sort(),
    secrets: Object.keys(secrets).sort(),
  };
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
        ? 'It is git-ignored or excluded: see what is left out with --dryRun, and name it under "sync.include".'
        : 'Set "train.script" (relative to the project) in ec2.config.json, or --script.',
    },
  );
}

/**
 * Says what was started or found.
 * @param followed whether it is the caller's own, and the command that stops it, where its log follows.
 */
export function describeStart(
  session: RunContext,
  run: RunFacts,
  attached: false | 'running' | 'ended',
  followed?: { own: boolean; cancel: string },
): void {
  const { reporter } = session;
  const process = run.pid ? `, PID ${run.pid}` : '';
  const by = followed?.own === false ? `, ${sanitizeForTerminal(nameOf(run.caller))}'s,` : '';
  if (attached === 'running') {
    reporter.line(
      `This training runs already: attached to ${reporter.strong(run.id)}${by} on ${run.instance}${process} (--rerun starts another)`,
    );
  } else if (attached === 'ended') {
    reporter.line(
      `This training has ended already: ${reporter.strong(run.id)}${by} on ${run.instance} (--rerun starts another)`,
    );
  } else {
    reporter.line(
      `Training ${reporter.strong(run.id)} ${run.queue ? 'waits' : 'started'} on ${run.instance}${process} as ${sanitizeForTerminal(run.user)}`,
    );
  }
  const { paths } = session.configuration.train.checkpoints;
  if (attached === false && paths.length > 0) {
    const places = ['NX_EC2_CHECKPOINT_DIR', ...paths.map(({ path }) => sanitizeForTerminal(path))].join(', ');
    reporter.line(`Checkpoints are saved while it runs from ${places}`);
  }
  if (run.queue) reporter.line(describeQueue(run.queue));
  if (attached !== 'ended' && followed) {
    const { train } = session.configuration;
    reporter.line(
      !followed.own
        ? 'Ctrl+C leaves it running; come back with the same command'
        : train.onInterrupt === 'stop'
          ? 'Ctrl+C stops it'
          : `Ctrl+C leaves it running${reporter.isPseudoTerminal ? '' : ' (twice stops it)'}; come back with the same command, stop it with ${followed.cancel}`,
    );
  }
  if (run.user === 'root')
    reporter.detail('It runs as root: no login user was found on the instance; "user" names one.');
}
