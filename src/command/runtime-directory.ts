import { join } from 'node:path';

/** Where the Python modules of the runtime are: the build has stripped them. */
export const RUNTIME_DIRECTORY = join(__dirname, '..', 'runtime');
