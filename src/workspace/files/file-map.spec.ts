import { setImmediate } from 'node:timers/promises';
import type { ProjectGraph } from '@nx/devkit';
import { nxLibrary } from '../../system/nx-library';
import { projectFileMap } from './file-map';

const TASK = { NX_WORKSPACE_ROOT: '/workspace', LERNA_PACKAGE_NAME: 'model', NX_INVOCATION_ROOT_PID: '7' };

describe('the file map of Nx', () => {
  const graph = { nodes: {}, dependencies: {} } as ProjectGraph;
  const seen: NodeJS.ProcessEnv[] = [];
  beforeEach(() => {
    seen.length = 0;
    Object.assign(process.env, TASK);
  });
  afterEach(() => {
    for (const name of Object.keys(TASK)) delete process.env[name];
    jest.restoreAllMocks();
  });

  const nxWith = (answer: () => Promise<Record<string, never>>) =>
    jest.spyOn(nxLibrary, 'fileMap').mockReturnValue({
      createProjectFileMapUsingProjectGraph: async () => {
        // Nx reads the environment when it sends its first message to the daemon.
        await setImmediate();
        seen.push({ ...process.env });
        return await answer();
      },
    });

  it('is read with the environment of the command, not of its task', async () => {
    nxWith(async () => ({}));
    await projectFileMap(graph);
    expect(Object.keys(seen[0])).toContain('PATH');
    for (const name of Object.keys(TASK)) expect(seen[0]).not.toHaveProperty(name);
    expect(process.env).toMatchObject(TASK);
  });

  it('leaves the environment as it was if Nx fails', async () => {
    nxWith(async () => Promise.reject(new Error('no daemon')));
    await expect(projectFileMap(graph)).rejects.toThrow('no daemon');
    expect(process.env).toMatchObject(TASK);
  });

  it('sets no variable that was not set', async () => {
    delete process.env.LERNA_PACKAGE_NAME;
    nxWith(async () => ({}));
    await projectFileMap(graph);
    expect(process.env).not.toHaveProperty('LERNA_PACKAGE_NAME');
  });
});
