import type { ExecutorContext } from '@nx/devkit';
import { Problem } from '../../report/problem';
import { shellWord } from '../../report/shell-words';
import { findPlace } from '../../run/ports/find-place';
import { slug } from '../../run/record/run-id';
import { addInclude, userConfig } from '../../run/ssh/include';
import { includeLine } from '../../run/ssh/ssh-config';
import { sshDirectory } from '../../run/ssh/ssh-host';
import { writeHost } from '../../run/ssh/write-host';
import { runTarget, type Target } from '../lib/run-target';
import type { ExecutorOptions } from '../../config/schema/executor-options';

/** Options that do not decide on which instance the target acts. */
const OWN = new Set(['host', 'install', 'port', 'run', 'node', 'verbose', 'json', 'sync']);
const MAX_PORT = 65_535;

/** Writes a host for ssh, and for the editors that read its configuration, that leads to the instance of the project. */
export default function remoteSshConfig(
  given: ExecutorOptions<'remote-ssh-config'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-ssh-config', given, context, false, async (target, options) => {
    const { configuration, printer, project, signal } = target;
    const { port = 22, run, node } = options;
    if (!Number.isInteger(port) || port < 1 || port > MAX_PORT)
      throw new Problem('OPTION_INVALID', `--port: ${port} is not a port.`);
    const name = options.host ?? `nx-ec2-${slug(project)}`;
    const include = includeLine(sshDirectory());
    const place = await findPlace(configuration, project, context.root, printer, { run, node });
    try {
      const { files, user, instance, hasInstanceConnect } = await writeHost(place, {
        name,
        host: {
          version: 1,
          workspaceRoot: context.root,
          project,
          projectRoot: configuration.projectRoot,
          port,
          run,
          node,
          options: { ...instanceOptions(options), ...environmentOptions(target) },
        },
        user: configuration.user,
        signal,
      });
      printer.line(`ssh ${name}  ->  ${user}@${instance}`);
      if (!hasInstanceConnect)
        printer.warn(
          `${instance} has no EC2 Instance Connect in its usual place: if ssh says "Permission denied", install the package ec2-instance-connect there.`,
        );
      const installed = options.install === true;
      const config = userConfig();
      if (installed) printer.line(`${addInclude(config, include) ? 'Added to' : 'Is in'} ${config}: ${include}`);
      else {
        printer.line(`To let ssh and editors find the host, put this line at the top of ${config}, or add --install:`);
        printer.line(`  ${include}`);
        printer.line(`Without it: ssh -F ${shellWord(files.config)} ${name}`);
      }
      return { host: name, config: files.config, user, instance, include, installed };
    } finally {
      place.context.close();
    }
  });
}

function instanceOptions(options: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(options).filter(([key, value]) => value !== undefined && !OWN.has(key) && !key.startsWith('_')),
  );
}

/** What an editor that was not started from this terminal would not know. Keys are not among them. */
function environmentOptions({ configuration: { region, profile } }: Target): Record<string, unknown> {
  const { AWS_REGION, AWS_PROFILE, AWS_ACCESS_KEY_ID } = process.env;
  return {
    ...(region === undefined && AWS_REGION ? { region: AWS_REGION } : {}),
    ...(profile === undefined && AWS_PROFILE && !AWS_ACCESS_KEY_ID ? { profile: AWS_PROFILE } : {}),
  };
}
