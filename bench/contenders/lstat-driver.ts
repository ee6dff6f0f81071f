import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { now } from './contender';
import { driven } from './driver';

/** Looks at every file of a directory, and does nothing with it. */
driven(async ({ source }: { source: string }) => {
  const begun = now();
  const walk = (directory: string) => {
    for (const name of readdirSync(directory)) {
      const path = join(directory, name);
      if (lstatSync(path).isDirectory()) walk(path);
    }
  };
  walk(source);
  return { begun };
});
