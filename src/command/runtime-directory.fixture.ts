import { join } from 'node:path';

/** Specs run the modules as the build strips them: scripts/package/strip-runtime.mjs, which Jest calls before them. */
export const RUNTIME_DIRECTORY = join(__dirname, '../..', '.cache/runtime');
