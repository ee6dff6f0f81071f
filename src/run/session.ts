import { Aws } from '../aws/clients';
import { Remote } from '../command/remote';
import type { Configuration } from '../config/configuration';
import { findInstance, knownId, refuseGone } from '../instance/find';
import { callerArn, preflight } from '../instance/preflight';
import type { Reporter } from '../report/reporter';
import { StoreKeys } from '../store/keys';
import { Store } from '../store/store';
import { treeId, workspaceIdentity } from '../workspace/identity';

/** Everything that one command of the user's works with: who, where, on what. */
export interface Session {
  configuration: Configuration;
  project: string;
  workspaceRoot: string;
  reporter: Reporter;
  aws: Aws;
  store: Store;
  keys: StoreKeys;
  /** The instance's id. */
  instance: string;
  tree: string;
  remote: Remote;
  /** Throws when EC2 says that the instance is gone. */
  stillThere: () => Promise<void>;
  /** Asks for everything that must hold, and throws what does not. */
  preflight: (signal?: AbortSignal) => Promise<void>;
  close(): void;
}

/** Finds the instance and the tree that are meant; asks AWS only what it must to know them. */
export async function openSession(
  configuration: Configuration,
  project: string,
  workspaceRoot: string,
  reporter: Reporter,
): Promise<Session> {
  const aws = new Aws(configuration);
  try {
    const store = new Store(aws, configuration);
    const keys = new StoreKeys(configuration.prefix, project);
    const { wait, ...name } = configuration.instance;
    const named = configuration.sync.tree;
    await aws.region();
    const [instance, caller] = await Promise.all([
      knownId(name) ?? findInstance(aws, name).then(({ id }) => id),
      named ? '' : callerArn(aws),
    ]);
    const tree = treeId({ workspace: workspaceIdentity(workspaceRoot), project, caller, tree: named });
    return {
      configuration,
      project,
      workspaceRoot,
      reporter,
      aws,
      store,
      keys,
      instance,
      tree,
      remote: new Remote(aws, store, keys, instance, configuration),
      stillThere: () => refuseGone(aws, instance),
      preflight: (signal) =>
        preflight({ aws, store, instance: { id: instance }, wait, onWait: (what) => reporter.line(what), signal }),
      close: () => aws.close(),
    };
  } catch (error) {
    aws.close();
    throw error;
  }
}
