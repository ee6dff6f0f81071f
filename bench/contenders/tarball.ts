import { join } from 'node:path';
import { root } from '../programs';
import type { Contender } from './contender';
import { drive } from './driver';
import type { Task } from './tarball-driver';

export const tarball: Contender = {
  name: 'tarball',
  about:
    'tar.gz, upload, then the commands mkdir, download and extract, verify, each polled after 2, 2, 4, 8, then 10 s',
  missing: () => null,
  open: async ({ testbed, input, directory }) => {
    const { environment, instances } = testbed.place;
    const target = join(instances[0].disk, 'model');
    const task: Task = {
      source: input.source,
      archive: join(directory, 'model.tar.gz'),
      target,
      instance: instances[0].id,
    };
    return {
      sync: (signal) => drive('tarball-driver', task, { cwd: root, env: environment, signal }),
      target: () => target,
      close: () => undefined,
    };
  },
};
