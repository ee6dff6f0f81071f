import { Problem } from '../../report/problem';
import { nxRun } from '../../report/shell-words';
import type { LaunchState } from './launch-journal';
import { describeLaunchOption } from './launch-options';
import { NoRoomBeside } from './no-room-beside';
import type { EnsureOptions } from './options';

/**
 * All options of a launch were refused.
 * @param seen EC2's words, by generation and option, of those that this process has tried.
 */
export function noCapacity(
  { launchSpec, owner, count = 1, min = count }: EnsureOptions,
  { generation, launchOptions, refused, kept }: LaunchState,
  seen: ReadonlyMap<string, string>,
): Problem {
  const lines = launchOptions.map(
    (each, n) => `  ${describeLaunchOption(each)}: ${seen.get(`${generation} ${n}`) ?? refused[n]}`,
  );
  if (kept.length)
    return new NoRoomBeside(
      `EC2 has no capacity for ${min - kept.length} of ${min} instances, beside those that exist (${kept.join(', ')}):\n${lines.join('\n')}`,
      `Those that exist are kept until their shutdown rules end them. To terminate them now: ${nxRun(owner.project, 'remote-down')}\nTo launch all of them elsewhere, run this command again after that.`,
      kept,
      { ...launchOptions[0], placement: undefined },
    );
  const of = count > 1 ? ` for ${min} instances at once` : '';
  const further = [
    launchSpec.spot === true ? 'more types, more subnets, or "spot": "or-on-demand"' : 'more types or subnets',
    ...(count > 1 && launchSpec.placement === 'cluster' ? ['leave out "placement": "cluster"'] : []),
  ];
  return new Problem('NO_CAPACITY', `EC2 has no capacity${of} for any of these:\n${lines.join('\n')}`, {
    next: `Try again later, or name ${further.join('; or ')}.`,
  });
}
