import { globMatcher, rootedGlob } from '../../../config/syntax/glob';
import { checkpointPaths, outputFinder, readOutputs } from '../../../config/settings/outputs';
import { syncSchema } from '../../../config/schema/sync-schema';
import { checked, cleaned, globOf, isOutside, type Finding } from './findings';
import { argumentOf, type Program } from './program';
import { whyOf } from './writes';

/** Calls that read a file, or a directory of data. */
const READS =
  /(?:^|\.)(?:open|load|load_\w+|loadtxt|genfromtxt|memmap|fromfile|from_file|read_\w+|File|ImageFolder|DatasetFolder)$/;

/**
 * Data that the sources read, that is here, and that git ignores, so that it is sent only where `sync.include` names it.
 * Secrets are left to the user.
 * @param ignored files of the project that git ignores.
 * @param written what the training writes, as entries of `train`.
 */
export function ignoredData(
  { sources, value }: Pick<Program, 'sources' | 'value'>,
  ignored: readonly string[],
  written: { outputs: string[]; checkpoints: string[]; scratch: string[] },
): Finding[] {
  const { outputs, checkpoints, scratch } = written;
  const ownResults = outputFinder([
    ...readOutputs([...outputs, ...scratch]),
    ...checkpointPaths({ checkpoints: { paths: checkpoints } }),
  ]);
  const secrets = syncSchema.parse({}).sensitive.map((each) => globMatcher(rootedGlob('', each)!));
  const data = ignored.filter((path) => !ownResults(path) && !secrets.some((matches) => matches(path)));
  if (data.length === 0) return [];
  const found = new Map<string, Finding>();
  for (const source of sources) {
    for (const call of source.calls) {
      const range = call.isDefinition || !READS.test(call.name) ? null : argumentOf(call, 'filename', 0);
      const path = range && cleaned(value(source, range) ?? '');
      if (!path || isOutside(path)) continue;
      const glob = globOf(path);
      const entry = glob && checked(glob);
      if (!entry || found.has(entry) || !data.some(globMatcher({ root: '', written: entry, pattern: entry }))) continue;
      found.set(entry, { value: entry, why: `${whyOf(source, call)}, git-ignored` });
    }
  }
  return [...found.values()];
}
