import { hash } from 'node:crypto';
import { join } from 'node:path';
import { Aws } from '../aws/clients';
import { Remote } from '../command/remote';
import type { Configuration } from '../config/configuration';
import type { InstanceName, NamedInstance } from '../config/instance-name';
import { Problem } from '../report/problem';
import { findInstances, refuseGone } from '../instance/find';
import { findDescribed } from '../instance/find-described';
import { learnCaller, rememberedCaller } from '../instance/caller';
import { isThere, madeKey, type Owner } from '../instance/made';
import { preflight } from '../instance/preflight';
import type { Reporter } from '../report/reporter';
import { secretMatcher, type PathMatcher } from '../config/glob';
import { StoreKeys } from '../store/keys';
import { PackIndex } from '../store/pack-index';
import { Store } from '../store/store';
import type { Travel } from '../sync/strategy';
import { machineState, stateDirectory } from '../workspace/state';
import { treeId, workspaceIdentity } from '../workspace/identity';
import { checkInstance } from './check-instance';
import { sessionClaim } from './claim';

/** What is asked of runs: the store, and the instances that they are or were on. */
export interface RunsSession {
  configuration: Configuration;
  project: string;
  workspaceRoot: string;
  reporter: Reporter;
  aws: Aws;
  store: Store;
  keys: StoreKeys;
  /** The remote side of any instance: a run may be on another than the configuration names by now. */
  at: (instance: string) => Place;
  /** Says that the configuration names these: commands go there without another question. */
  allow: (instances: readonly string[]) => void;
  /** The caller's ARN. */
  caller: () => Promise<string>;
  /** Whose is what is made from here. */
  owner: () => Promise<Owner>;
  close(): void;
}

export interface Place {
  remote: Remote;
  /** Throws where no command may be sent there: see `checkInstance`. `remote` asks it by itself. */
  allowed: () => Promise<void>;
  /** Throws INSTANCE_GONE when EC2 says that the instance does not run. */
  stillThere: () => Promise<void>;
}

/** Everything that one command of the user's works with: who, where, on what. */
export interface Session extends RunsSession, Place {
  /** The instance's id; with several, the first one's. */
  instance: string;
  instances: string[];
  tree: string;
  /** Where this machine remembers heads. */
  memory: string;
  index: PackIndex;
  travel: Travel;
  /** Asks for everything that must hold, and throws what does not. */
  preflight: (signal?: AbortSignal) => Promise<void>;
}

/** Asks AWS nothing yet: neither the configuration's instance nor a run's need be there. */
export function openRuns(
  configuration: Configuration,
  project: string,
  workspaceRoot: string,
  reporter: Reporter,
): RunsSession {
  const aws = new Aws(configuration);
  const store = new Store(aws, configuration);
  const keys = new StoreKeys(configuration.prefix, project);
  const places = new Map<string, Place>();
  const checks = new Map<string, Promise<void>>();
  const caller = async () => (await rememberedCaller(aws)) ?? learnCaller(aws);
  const owner = async () => ({ workspace: workspaceIdentity(workspaceRoot), project, caller: await caller() });
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
    ...{ configuration, project, workspaceRoot, reporter, aws, store, keys },
    allow: (instances) => instances.forEach((instance) => checks.set(instance, Promise.resolve())),
    at: (instance) => {
      const place = places.get(instance) ?? {
        remote: new Remote(aws, store, keys, instance, configuration, (id) => refuseGone(aws, id), allowed),
        allowed: () => allowed(instance),
        stillThere: () => refuseGone(aws, instance),
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
 * @param soon what is asked of the store as soon as the session is open, so that it is connected to by then.
 */
export async function openSession(
  configuration: Configuration,
  project: string,
  workspaceRoot: string,
  reporter: Reporter,
  soon?: 'store',
): Promise<Session> {
  const runs = openRuns(configuration, project, workspaceRoot, reporter);
  const { aws, store } = runs;
  aws.connect('ssm');
  if (soon) aws.connect('s3', configuration.bucket);
  try {
    const { wait } = configuration.instance;
    const named = configuration.sync.tree;
    await aws.region();
    const found: { instances?: string[] } = {};
    let checked: Promise<void> | undefined;
    const check = (signal?: AbortSignal) =>
      preflight({
        aws,
        store,
        instances: found.instances?.map((id) => ({ id })) ?? configuration.instances.filter(isThere),
        wait,
        onWait: (what) => reporter.line(what),
        signal,
      });
    const made = 'described' in configuration.instance;
    const caller = named && !made ? '' : await rememberedCaller(aws);
    if (caller === undefined) {
      // A machine that has never synced: what must hold is asked for while the caller is.
      aws.connect('s3', configuration.bucket);
      aws.connect('sts');
      checked = check();
      checked.catch(() => undefined);
    }
    const workspace = workspaceIdentity(workspaceRoot);
    const asking = caller === undefined ? learnCaller(aws) : Promise.resolve(caller);
    const names = nameAll(
      { ...runs, owner: async () => ({ workspace, project, caller: await asking }) },
      configuration.instances,
    );
    const [instances, arn] = await Promise.all([names.then((all) => findInstances(aws, all)), asking]).catch(
      async (error: unknown) => {
        // The preflight knows all that is wrong.
        await checked;
        throw made ? notUp(error, project) : error;
      },
    );
    found.instances = instances;
    runs.allow(instances);
    const [instance] = instances;
    const state = stateDirectory(workspaceRoot);
    const tree = treeId({ workspace, project, caller: arn, tree: named });
    return {
      ...runs,
      ...runs.at(instance),
      ...{ instance, instances, tree },
      memory: state,
      ...openContents(runs),
      caller: async () => arn || runs.caller(),
      preflight: (signal) => {
        const asked = checked ?? check(signal);
        // What was found once is asked for again.
        checked = undefined;
        return asked;
      },
    };
  } catch (error) {
    aws.close();
    throw error;
  }
}

/** Those by a description are looked up by their tags; the caller is only asked for where there is one. */
function nameAll(
  runs: Pick<RunsSession, 'aws' | 'configuration' | 'owner'>,
  names: readonly InstanceName[],
): Promise<NamedInstance[]> {
  return Promise.all(
    names.map(async (name) => {
      if (!('described' in name)) return name;
      const claim = await sessionClaim(runs);
      return findDescribed(runs.aws, madeKey(claim.owner, name.described), claim);
    }),
  );
}

/** The same, in words of what is to be done. */
function notUp(error: unknown, project: string): unknown {
  if (!(error instanceof Problem) || error.code !== 'INSTANCE_MISSING') return error;
  return new Problem('INSTANCE_MISSING', `No instance is up for ${project}.`, {
    next: `Bring one up: nx run ${project}:remote-up (remote-train does it by itself).`,
  });
}

/** What contents are put into the store with. Asks AWS nothing. */
export function openContents({
  store,
  keys,
  configuration,
  reporter,
}: Pick<RunsSession, 'store' | 'keys' | 'configuration' | 'reporter'>): Pick<Session, 'index' | 'travel'> {
  return {
    index: new PackIndex(store, keys, packFile(configuration), (text) => reporter.warn(text)),
    travel: travel(configuration),
  };
}

/** One for each bucket and prefix, for all workspaces of this machine: contents are shared below a prefix. */
function packFile({ bucket, prefix }: Configuration): string {
  const store = [process.env.AWS_ENDPOINT_URL ?? '', bucket, prefix].join('\n');
  return join(machineState(), 'packs', hash('sha256', store, 'hex').slice(0, 32));
}

function travel({ sync, projectRoot }: Configuration): Travel {
  let matches: PathMatcher | undefined;
  return {
    inline: sync.inline,
    compression: sync.compression,
    isSecret: (path) => (matches ??= secretMatcher(projectRoot, sync.secret))(path),
  };
}
