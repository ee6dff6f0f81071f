import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { installed } from '../programs';
import { run, timed, type Contender } from './contender';

export const casync: Contender = {
  name: 'casync',
  about: 'casync make, then extract on the instance, which fetches from an HTTP store over the same link',
  missing: () => (installed('casync') ? null : 'casync is not installed'),
  open: async ({ testbed, input, directory }) => {
    const target = join(directory, 'model');
    const shelf = join(directory, 'shelf');
    mkdirSync(shelf);
    const port = await testbed.serve(shelf);
    return {
      sync: async (signal) => {
        const near = await testbed.tunnel(port, true);
        return timed(async () => {
          await run('casync', ['make', `--store=${join(shelf, 'store')}`, join(shelf, 'model.caidx'), input.source], {
            signal,
          });
          const url = `http://127.0.0.1:${near}`;
          await run('casync', ['extract', `--store=${url}/store/`, `${url}/model.caidx`, target], { signal });
        });
      },
      target: () => target,
      close: () => undefined,
    };
  },
};
