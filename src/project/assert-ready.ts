import type { ReadyReply } from '../command/plan';
import type { LaunchSpec } from '../config/schema/launch-spec';
import { DEFAULT_DISK_GB, GB } from '../instance/launch/launch-parameters';
import { Problem } from '../report/problem';
import type { Printer } from '../report/printer';
import { sanitizeForTerminal } from '../report/terminal-text';
import { formatSize } from '../report/units';
import { isConfidential, mayLackTool, type EnvironmentNeeds } from './environment-needs';
import type { InstanceContext } from '../context/types';

/** Unpacked and compiled, packages take at least, and as measured, this multiple of what is downloaded. */
const MIN_UNPACKED_RATIO = 1.5;
const MEASURED_UNPACKED_RATIO = 3;
/** A smaller environment is no reason to ask an instance for its free space. */
const LARGE_BYTES = 1024 ** 3;

/**
 * Asks instances, before files are sent to them, whether they have what the set-up of a run needs.
 * @throws Problem TOOL_MISSING
 */
export async function assertReady(
  { at, instances, printer, configuration }: Pick<InstanceContext, 'at' | 'instances' | 'printer' | 'configuration'>,
  needs: EnvironmentNeeds | null,
  signal?: AbortSignal,
): Promise<void> {
  if (!needs) return;
  const { tool, download } = needs;
  const asksTool = mayLackTool(tool, configuration.train.env);
  if (!asksTool && !(download && download.most > LARGE_BYTES)) return;
  await Promise.all(
    instances.map(async (instance) => {
      const { missing, free } = await at(instance).remote.send<ReadyReply>(
        { op: 'ready', environment: tool },
        { comment: 'nx-ec2: ready', confidential: isConfidential(tool), signal },
      );
      if (missing && asksTool) {
        throw new Problem('TOOL_MISSING', sanitizeForTerminal(`${instance} lacks ${missing.tool}: ${missing.why}.`), {
          next: sanitizeForTerminal(missing.fix),
        });
      }
      // Not an error: an environment that exists already needs no more space.
      if (download && free < download.most * MEASURED_UNPACKED_RATIO) {
        printer.warn(
          `${instance} has ${formatSize(free)} free. The environment of uv.lock downloads ${describe(needs)} and takes about ` +
            `${formatSize(download.most * MEASURED_UNPACKED_RATIO)}, unless it was installed before. Free some space, or set "remoteRoot" to a larger volume.`,
        );
      }
    }),
  );
}

/**
 * Compares the volume of an instance to be launched with what the set-up of a run needs.
 * @throws Problem DISK_TOO_SMALL before anything is launched, where the packages can't fit.
 */
export function assertVolume(
  { volumeSize }: Pick<LaunchSpec, 'volumeSize'>,
  needs: EnvironmentNeeds | null,
  printer: Pick<Printer, 'warn'>,
): void {
  const download = needs?.download;
  if (!download) return;
  const volume = volumeSize ?? DEFAULT_DISK_GB * GB;
  const key = `"instance": { "volumeSize": "${Math.ceil((download.most * MEASURED_UNPACKED_RATIO) / GB) + 20} GB" }`;
  const what = `The environment of uv.lock downloads ${describe(needs)}; the volume of the instance has ${formatSize(volume)}`;
  if (download.least * MIN_UNPACKED_RATIO > volume) {
    throw new Problem(
      'DISK_TOO_SMALL',
      `${what}, and the installed packages take at least ${formatSize(download.least * MIN_UNPACKED_RATIO)}.`,
      {
        next: `Set ${key} in ec2.config.json.`,
      },
    );
  }
  if (download.most * MEASURED_UNPACKED_RATIO > volume) {
    printer.warn(
      `${what}, and the installed packages take about ${formatSize(download.most * MEASURED_UNPACKED_RATIO)}. For more space, set ${key}.`,
    );
  }
}

function describe({ download }: EnvironmentNeeds): string {
  const { least, most } = download!;
  return least === most ? formatSize(most) : `${formatSize(least)} to ${formatSize(most)}`;
}
