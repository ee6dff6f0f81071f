import { parentPort, Worker, workerData } from 'node:worker_threads';
import type { ProjectGraph } from '@nx/devkit';
import { nxLibrary } from '../../system/nx-library';
import type { ListFiles } from './types';
import { projectFileMap } from './file-map';

const OURS = 'nx-ec2: list files';
/** The next thread is made so long after a list, ms: what that was asked for comes first. */
const NEXT_WORKER_DELAY_MS = 300;

/**
 * Lists files by Nx as they are on disk at that moment. Nx itself looks once in a process, and its daemon some time
 * after a change: so each list is made by a thread that has not looked before, and stands by for that.
 */
export class FreshListing {
  private standby?: Worker;
  private closed = false;

  constructor(private readonly workspaceRoot: string) {}

  /** Loads Nx in a thread, because that takes a third of a second. */
  prepare(): void {
    if (!this.standby && !this.closed) {
      this.standby = new Worker(__filename, {
        workerData: OURS,
        env: { ...process.env, NX_DAEMON: 'false', NX_WORKSPACE_ROOT_PATH: this.workspaceRoot },
      });
      this.standby.unref();
    }
  }

  readonly list: ListFiles = async (projectGraph, projects) => {
    this.prepare();
    const worker = this.standby!;
    this.standby = undefined;
    try {
      return await new Promise<string[]>((resolve, reject) => {
        worker.once('message', resolve);
        worker.once('error', reject);
        worker.once('exit', () => reject(new Error('the thread that lists files ended')));
        worker.postMessage([roots(projectGraph), projects]);
      });
    } finally {
      void worker.terminate();
      setTimeout(() => this.prepare(), NEXT_WORKER_DELAY_MS).unref();
    }
  };

  async close(): Promise<void> {
    this.closed = true;
    await this.standby?.terminate();
    this.standby = undefined;
  }
}

/** What of a graph decides which project a file belongs to. */
function roots({ nodes }: ProjectGraph): ProjectGraph {
  const few = Object.entries(nodes).map(([name, { type, data }]) => [
    name,
    { name, type, data: { name, root: data.root } },
  ]);
  return { nodes: Object.fromEntries(few), dependencies: {} };
}

if (workerData === OURS && parentPort) {
  const port = parentPort;
  // Loaded before it is needed.
  nxLibrary.fileMap();
  port.once('message', async ([projectGraph, projects]: [ProjectGraph, string[]]) => {
    const files = await projectFileMap(projectGraph);
    port.postMessage(projects.flatMap((project) => files[project] ?? []).map(({ file }) => file));
  });
}
