import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { isConfidential } from '../schema/explain-issue';
import { describes, isObject, type Raw } from '../schema/merge';

/** A place that holds settings. */
export interface SettingSource {
  /** e.g. `models/foo/ec2.config.json`; null: the command line. */
  where: string | null;
  values: Raw;
}

/** How the plugin's options are named as a source. */
export const PLUGIN_OPTIONS = 'the options of nx-ec2 in nx.json';

/** A longer value is not shown, characters. */
const MAX_VALUE_LENGTH = 200;

/** What the SDK reads where the configuration has none. */
const VARIABLES: Record<string, readonly string[]> = {
  region: ['AWS_REGION', 'AWS_DEFAULT_REGION'],
  profile: ['AWS_PROFILE'],
};

/**
 * Adds to a problem where each setting that it is about is set, and its value: a line each.
 * @param sources highest precedence first.
 */
export function withOrigins<E>(
  error: E,
  sources: readonly SettingSource[],
  environment: NodeJS.ProcessEnv = process.env,
): E | Problem {
  if (!(error instanceof Problem)) return error;
  const lines = error.settings.flatMap((path) => originOf(path, sources, environment) ?? []);
  if (!lines.length) return error;
  const { code, what, aws, next, cause } = error;
  const located = new Problem(code, what, { aws, next: [...(next ? [next] : []), ...lines].join('\n'), cause });
  // Such as the result that a target has put there.
  return Object.assign(located, { ...error, ...located });
}

function originOf(path: string, sources: readonly SettingSource[], environment: NodeJS.ProcessEnv): string | undefined {
  for (const { where, values } of sources) {
    const value = valueAt(values, path);
    if (value !== undefined) return describe(where, path, value);
    // A named instance replaces a launch spec of a lower level.
    if (path.startsWith('instance.') && values.instance !== undefined && !isLaunchSpec(values.instance)) break;
  }
  const name = VARIABLES[path]?.find((each) => environment[each]);
  return name && `  ${name}=${sanitizeForTerminal(environment[name]!)}`;
}

function isLaunchSpec(value: unknown): boolean {
  return isObject(value) && describes(value);
}

function valueAt(values: Raw, path: string): unknown {
  return path.split('.').reduce<unknown>((at, key) => (isObject(at) && Object.hasOwn(at, key) ? at[key] : undefined), {
    ...values,
  });
}

function describe(where: string | null, path: string, value: unknown): string {
  if (where === null) return `  --${path}=${sanitizeForTerminal(String(value))}`;
  const text = JSON.stringify(value, (key, each: unknown) => (isConfidential([key]) ? '…' : each));
  const isShown = !isConfidential(path.split('.')) && text.length <= MAX_VALUE_LENGTH;
  return `  ${sanitizeForTerminal(where)}: ${path}${isShown ? `: ${sanitizeForTerminal(text)}` : ''}`;
}
