import { posix } from 'node:path';
import picomatch from 'picomatch';
import { GLOB } from '../syntax/glob-expression';
import { CONFIG_FILE } from './config-file';
import { merge, type Raw } from '../schema/merge';

const PLUGIN = 'nx-ec2';

type NxJson = { plugins?: readonly unknown[] };

interface PluginEntry {
  options: Raw;
  include: readonly string[];
  exclude: readonly string[];
}

/**
 * Reads the options of nx-ec2 in nx.json that apply to a project. If several entries match it, the options of a later
 * one are put over those of an earlier one, as Nx does with the targets that they infer.
 * @param projectRoot workspace-relative.
 */
export function pluginOptions(nxJson: NxJson, projectRoot: string): Raw {
  return withoutTargetNames(pluginOptionsWithNames(nxJson, projectRoot));
}

/** Like `pluginOptions`, with the options that name targets. */
export function pluginOptionsWithNames(nxJson: NxJson, projectRoot: string): Raw {
  const file = posix.join(projectRoot, CONFIG_FILE);
  return mergeOptions(
    entriesOf(nxJson).filter(({ include, exclude }) => matches(include, file, true) && !matches(exclude, file, false)),
  );
}

/** Reads the options of each entry of nx-ec2 in nx.json, with those of the entries that apply to every project. */
export function allPluginOptions(nxJson: NxJson): Raw[] {
  const entries = entriesOf(nxJson);
  const applyToAll = entries.filter(({ include, exclude }) => !include.length && !exclude.length);
  return entries.map((entry) =>
    withoutTargetNames(mergeOptions(entries.filter((each) => each === entry || applyToAll.includes(each)))),
  );
}

export function withoutTargetNames(options: Raw): Raw {
  return Object.fromEntries(Object.entries(options).filter(([key]) => !key.endsWith('TargetName')));
}

function mergeOptions(entries: readonly PluginEntry[]): Raw {
  return entries.reduce<Raw>((low, { options }) => merge(low, options), {});
}

function entriesOf({ plugins = [] }: NxJson): PluginEntry[] {
  return plugins.flatMap((each) => {
    if (typeof each === 'string') return each === PLUGIN ? [{ options: {}, include: [], exclude: [] }] : [];
    const { plugin, options = {}, include = [], exclude = [] } = each as Partial<PluginEntry> & { plugin?: string };
    return plugin === PLUGIN ? [{ options, include, exclude }] : [];
  });
}

/**
 * Matches a file as Nx does: no pattern means `empty`; with a `!` among them, the last pattern that matches decides, and
 * a list that begins with one starts from everything.
 */
function matches(patterns: readonly string[], file: string, empty: boolean): boolean {
  if (!patterns.length) return empty;
  return patterns.reduce((matched, pattern) => {
    const isNegated = pattern.startsWith('!');
    return picomatch.isMatch(file, isNegated ? pattern.slice(1) : pattern, GLOB) ? !isNegated : matched;
  }, patterns[0].startsWith('!'));
}
