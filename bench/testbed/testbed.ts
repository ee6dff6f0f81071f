import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import type { Fault } from '../../src/local-aws/link/faults';
import type { LinkProfile, NetworkProfile } from '../../src/local-aws/link/network';
import type { UsedBy } from '../processor/process-tree';
import type { TestbedProcess, Observed, Place } from './testbed-process';

/** Where a contender is measured: a local AWS of its own, in another process. */
export class Testbed {
  private readonly waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  private calls = 0;

  place!: Place;

  private constructor(private readonly child: ChildProcess) {}

  static async open(directory: string): Promise<Testbed> {
    const child = fork(join(__dirname, 'testbed-process.js'), [directory]);
    const testbed = new Testbed(child);
    child.on('message', ({ id, result, error }: { id: number; result: never; error?: string }) => {
      const { resolve, reject } = testbed.waiting.get(id)!;
      testbed.waiting.delete(id);
      if (error) reject(new Error(error));
      else resolve(result);
    });
    child.on('exit', () => {
      for (const { reject } of testbed.waiting.values()) reject(new Error('local AWS is gone'));
    });
    testbed.place = await testbed.call('place');
    return testbed;
  }

  use = (network: NetworkProfile): Promise<void> => this.call('use', network);
  tunnel = (port: number, calledFromFar = false, profile?: LinkProfile): Promise<number> =>
    this.call('tunnel', port, calledFromFar, profile);
  remoteShell = (): Promise<number> => this.call('remoteShell');
  profile = (): Promise<NetworkProfile> => this.call('profile');
  serve = (directory: string): Promise<number> => this.call('serve', directory);
  observe = (): Promise<Observed> => this.call('observe');
  idle = (): Promise<void> => this.call('idle');
  fail = (fault: Fault): Promise<void> => this.call('fail', fault);
  watchMemory = (): Promise<void> => this.call('watchMemory');
  watchProcesses = (): Promise<void> => this.call('watchProcesses');
  processes = (): Promise<UsedBy[]> => this.call('processes');
  peakMemory = (): Promise<number> => this.call('peakMemory');

  async close(): Promise<void> {
    const gone = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.disconnect();
    await gone;
  }

  private call<M extends keyof TestbedProcess>(
    method: M,
    ...args: Parameters<TestbedProcess[M]>
  ): ReturnType<TestbedProcess[M]> {
    const id = this.calls++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.child.send({ id, method, args });
    }) as ReturnType<TestbedProcess[M]>;
  }
}
