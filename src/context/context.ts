import { hash } from 'node:crypto';
import { join } from 'node:path';
import { Aws } from '../aws/clients';
import { Remote } from '../command/remote';
import type { InstanceName, NamedInstance } from '../config/schema/instance-name';
import { Problem } from '../report/problem';
import { findInstances, assertRunning } from '../instance/describe/find';
import { findLaunched } from '../instance/launch/find-launched';
import { learnCaller, rememberedCaller } from '../instance/describe/caller';
import { isNamedInstance } from '../instance/describe/ownership';
import { preflight } from '../instance/ready/preflight';
import type { Printer } from '../report/printer';
import { secretMatcher, type PathMatcher } from '../config/syntax/glob';
import { StoreKeys } from '../store/keys';
import { PackIndex } from '../store/packs/pack-index';
import { Store } from '../store/store';
import { machineState, stateDirectory } from '../workspace/state';
import { treeId, workspaceIdentity } from '../workspace/identity';
import { checkInstance } from './check-instance';
import { ownerOf, requiredTags } from './required-tags';
import type { Configuration } from '../config/settings/types';
import type { RunContext, InstanceContext, RemoteTarget } from './types';
import type { TransferOptions } from '../sync/context';
import { nxRun } from '../report/shell-words';

/** Asks AWS nothing yet: neither the configuration's instance nor a run's need be there. */
export function createRunContext(
  configuration: Configuration,
  project: string,
  workspaceRoot: string,
  printer: Printer,
): RunContext {
  const aws = new Aws(configuration);
  const store = new Store(aws, configuration);
  const keys = new StoreKeys(configuration.prefix, project);
  const places = new Map<string, RemoteTarget>();
  const checks = new Map<string, Promise<void>>();
  const caller = async () => (await rememberedCaller(aws)) ?? learnCaller(aws);
  const owner = async () => ownerOf(configuration, { workspaceRoot, project, caller: await caller() });
  const allowed = (instance: string): Promise<void> => {
    let check = checks.get(instance);
    if (!check) {
      checks.set(instance, (check = checkInstance({ aws, configuration, owner, workspaceRoot }, instance)));
      // What AWS could not say is asked again.
      check.catch(() => checks.delete(instance));
    }
    return check;
  };
  return {
    configuration,
    project,
    workspaceRoot,
    printer,
    aws,
    store,
    keys,
    allow: (instances) => instances.forEach((instance) => checks.set(instance, Promise.resolve())),
    at: (instance) => {
      const place = places.get(instance) ?? {
        remote: new Remote({
          aws,
          store,
          keys,
          instance,
          settings: configuration,
          codeDirectory: join(machineState(), 'compiled'),
          missedPlansDirectory: join(machineState(), 'missed-plans'),
          assertInstanceExists: (id) => assertRunning(aws, id),
          assertAllowed: allowed,
        }),
        allowed: () => allowed(instance),
        assertInstanceExists: () => assertRunning(aws, instance),
      };
      places.set(instance, place);
      return place;
    },
    caller,
    owner,
    close: () => aws.close(),
  };
}

/**
 * Finds the instance and the tree that are meant; asks AWS only what it must to know them.
 * @param soon what is asked of the store as soon as the context exists, so that the connection is open by then.
 */
export async function createInstanceContext(
  configuration: Configuration,
  project: string,
  workspaceRoot: string,
  printer: Printer,
  soon?: 'store',
): Promise<InstanceContext> {
  const runs = createRunContext(configuration, project, workspaceRoot, printer);
  const { aws } = runs;
  aws.connect('ssm');
  if (soon) aws.connect('s3', configuration.bucket);
  try {
    await aws.region();
    const check = new Preflight(runs);
    const upload = createUploadContext(runs);
    const isLaunched = 'launchSpec' in configuration.instance;
    const caller = configuration.sync.tree && !isLaunched ? '' : await rememberedCaller(aws);
    if (caller === undefined) {
      // A machine that has never synced: what must hold is asked for while the caller is.
      aws.connect('s3', configuration.bucket);
      aws.connect('sts');
      check.begin();
      // What is wrong with it is the preflight's to say.
      upload.index.refresh().catch(() => undefined);
    }
    const asking = caller === undefined ? learnCaller(aws) : Promise.resolve(caller);
    const [instances, arn] = await Promise.all([findNamed(runs, asking), asking]).catch(async (error: unknown) => {
      // The preflight knows all that is wrong.
      await check.begun;
      throw isLaunched ? noInstanceError(error, project) : error;
    });
    check.instances = instances;
    runs.allow(instances);
    const [instance] = instances;
    return {
      ...runs,
      ...runs.at(instance),
      instance,
      instances,
      tree: treeId({
        workspace: workspaceIdentity(workspaceRoot),
        project,
        caller: arn,
        tree: configuration.sync.tree,
      }),
      stateDirectory: stateDirectory(workspaceRoot),
      ...upload,
      caller: async () => arn || runs.caller(),
      preflight: (signal) => check.run(signal),
    };
  } catch (error) {
    aws.close();
    throw error;
  }
}

/** The preflight of one command: it may begin before the instances are known. */
class Preflight {
  /** The one that has not been requested yet. */
  begun?: Promise<void>;
  /** Their ids, when they are known; until then those that the configuration names. */
  instances?: readonly string[];

  constructor(private readonly runs: RunContext) {}

  begin(): void {
    this.begun = this.ask();
    this.begun.catch(() => undefined);
  }

  /** @throws Problem what does not hold. */
  run(signal?: AbortSignal): Promise<void> {
    const asked = this.begun ?? this.ask(signal);
    // What was found once is asked for again.
    this.begun = undefined;
    return asked;
  }

  private ask(signal?: AbortSignal): Promise<void> {
    const { aws, store, configuration, printer } = this.runs;
    return preflight({
      aws,
      store,
      instances: this.instances?.map((id) => ({ id })) ?? configuration.instances.filter(isNamedInstance),
      wait: configuration.instance.startupTimeout,
      onWait: (what) => printer.line(what),
      signal,
    });
  }
}

/** The ids of the instances that the configuration names. @param caller who owns those that were launched. */
async function findNamed(runs: RunContext, caller: Promise<string>): Promise<string[]> {
  const { aws, configuration, project, workspaceRoot } = runs;
  const owner = async () => ownerOf(configuration, { workspaceRoot, project, caller: await caller });
  return findInstances(aws, await resolveSelectors({ ...runs, owner }, configuration.instances));
}

/** Instances of a launch spec are looked up by their tags, which needs the caller. */
function resolveSelectors(
  runs: Pick<RunContext, 'aws' | 'configuration' | 'owner'>,
  names: readonly InstanceName[],
): Promise<NamedInstance[]> {
  return Promise.all(
    names.map(async (name) => {
      if (!('launchSpec' in name)) return name;
      const required = await requiredTags(runs);
      return findLaunched(runs.aws, name.launchSpec, runs.configuration.train.nodes, required);
    }),
  );
}

/** The same error, with the next step. */
function noInstanceError(error: unknown, project: string): unknown {
  if (!(error instanceof Problem) || error.code !== 'INSTANCE_MISSING') return error;
  return new Problem('INSTANCE_MISSING', `No instance is running for ${project}.`, {
    next: `remote-train launches one when it is needed. To launch one now: ${nxRun(project, 'remote-up')}`,
  });
}

/** What contents are put into the store with. Asks AWS nothing. */
export function createUploadContext({
  store,
  keys,
  configuration,
  printer,
}: Pick<RunContext, 'store' | 'keys' | 'configuration' | 'printer'>): Pick<
  InstanceContext,
  'index' | 'transferOptions'
> {
  return {
    index: new PackIndex(store, keys, packFile(configuration), (text) => printer.warn(text)),
    transferOptions: transferOptions(configuration),
  };
}

/** One for each bucket and prefix, for all workspaces of this machine: contents are shared below a prefix. */
function packFile({ bucket, prefix }: Configuration): string {
  const store = [process.env.AWS_ENDPOINT_URL ?? '', bucket, prefix].join('\n');
  return join(machineState(), 'packs', hash('sha256', store, 'hex').slice(0, 32));
}

function transferOptions({ sync, projectRoot }: Configuration): TransferOptions {
  let matches: PathMatcher | undefined;
  return {
    inline: sync.allowInline,
    compression: sync.compression,
    isSecret: (path) => (matches ??= secretMatcher(projectRoot, sync.sensitive))(path),
  };
}
