import { Command, type CommanderError } from 'commander';
import { Printer } from '../report/printer';
import { ownVersion } from './own-version';
import { UNKNOWN_EXIT_CODE } from './run-exit-code';

const RUN_PROJECT = "the run's project. Default: taken from the run's id";
const WHERE_CONFIGURED = "bucket of the store. Default, as for the following options: the project's configuration";
const WHERE_IN_NX_JSON = 'bucket of the store. Default, as for the following options: the options of nx-ec2 in nx.json';

/** The command line of nx-ec2. Each command loads its module when it is called. */
export const program = new Command('nx-ec2')
  .description('Commands for the workspace and the account. To train a project: nx run <project>:remote-train')
  .version(ownVersion(), '-V, --version', "print the package's version")
  // The commands below inherit it.
  .exitOverride(exitWith(1))
  .showHelpAfterError('To list the commands and their options: npx nx-ec2 --help');

program
  .command('local-aws')
  .description('run S3, SSM, EC2 and STS on loopback, with instances that are processes of this machine')
  .option('--port <port>', 'port to listen on; 0: any free port', '4566')
  .option('--directory <path>', 'directory of its state', '.nx-ec2/local-aws')
  .option('--region <region>', 'region that it serves', 'eu-west-1')
  .option('--bucket <name>', 'bucket to create', 'nx-ec2-local')
  .option('--instance <name>', 'name of an instance to start', 'local')
  .option('--boot <duration>', "time from an instance's launch until its SSM agent is online", '1s')
  .option('--network <profile>', 'network to simulate: wan, or a round trip time and rates, e.g. 60ms,50Mbit,200Mbit')
  .option('--agent-channel <channel>', 'how SSM agents receive their commands: gateway or ec2messages', 'gateway')
  .option('--faults <file>', 'faults to inject: a JSON list, see docs/reference/local-aws.md')
  .option('--json', 'print one machine-readable line')
  .action(async (options) => (await import('./local-aws.js')).localAws(options));

program
  .command('cache-key')
  .description(
    'print a hash of everything that a training of the project is sent, datasets included: the runtime input of remote-train',
  )
  .argument('<projectRoot>', "the project's directory, relative to the workspace")
  .action(async (projectRoot: string) => (await import('./cache-key.js')).cacheKey(projectRoot));

const INTERVAL = 'with --watch: the time between two looks, 1s to 1h. Default: 5s';

const runs = program
  .command('runs')
  .description('list, compare and wait for runs, by hand or in scripts')
  // The exit code 1 would be that of a run.
  .exitOverride(exitWith(UNKNOWN_EXIT_CODE));

withConnection(
  runs
    .command('list')
    .description('list the runs of a project')
    .option('--project <name>', 'the project')
    .option('--limit <number>', 'maximum number of runs to list', '20')
    .option('--watch', 'update the list until no run is active')
    .option('--interval <time>', INTERVAL),
  WHERE_CONFIGURED,
).action(async (options) => (await import('./runs.js')).runsList(options));

const EXIT_CODE = `
Exit code: 0 if the run succeeded; else that of its program, or 128 plus the number of the signal that killed it; 1 if
the run has neither (it was lost, its set-up failed, or it was cancelled and exited with 0); 125 if it is not known how
the run ended; 130 after Ctrl+C, which does not stop the run.`;

for (const [name, description] of [
  ['status', 'show a run in full'],
  ['wait', "wait until a run has ended; exit with the run's exit code"],
  ['logs', "print the log of a run and follow it to its end; exit with the run's exit code if it has ended"],
] as const) {
  const verb = runs
    .command(name)
    .description(description)
    .argument('[run]', 'id of the run, or last: your latest run of the project', 'last')
    .option('--project <name>', RUN_PROJECT);
  if (name === 'status') verb.option('--watch', 'update until the run has ended').option('--interval <time>', INTERVAL);
  if (name === 'logs') {
    verb.option('--since <time>', 'start at this time, or this long ago (10m)');
    verb.option('--tail <lines>', 'start with this number of last lines');
    verb.option('--no-follow', 'print the log so far and exit');
  }
  withConnection(verb, WHERE_CONFIGURED).action(async (run: string, options) => {
    const { runsStatus, runsWait, runsLogs } = await import('./runs.js');
    await { status: runsStatus, wait: runsWait, logs: runsLogs }[name](run, options);
  });
  if (name !== 'status') verb.addHelpText('after', EXIT_CODE);
}

withConnection(
  runs
    .command('diff')
    .description('show how two runs differ: code, configuration, datasets, packages, result, metrics, artifacts')
    .argument('<before>', 'id of a run')
    .argument('<after>', 'id of another run')
    .option('--project <name>', RUN_PROJECT),
  WHERE_CONFIGURED,
).action(async (before: string, after: string, options) => (await import('./diff.js')).diff(before, after, options));

withConnection(
  runs
    .command('report')
    .description('write runs as one HTML page with charts, or as Markdown: facts, metrics, artifacts')
    .argument('<runs...>', 'ids of runs')
    .option('--html <file>', 'write a page that needs no other file and no network')
    .option('--markdown [file]', 'write Markdown, for a comment; without a file: to standard output')
    .option('--base <run>', 'show also how the first run differs from this one')
    .option('--project <name>', RUN_PROJECT),
  WHERE_CONFIGURED,
).action(async (ids: string[], options) => (await import('./report.js')).report(ids, options));

withConnection(
  runs
    .command('checkout')
    .description('write the exact code of a run into a directory of its own')
    .argument('<run>', 'id of the run')
    .option(
      '--output <directory>',
      'new or empty directory. Default: named after the run, beside the workspace and its git repository',
    )
    .option('--project <name>', RUN_PROJECT)
    .option('--verbose', 'print details'),
  WHERE_CONFIGURED,
).action(async (run: string, options) => (await import('./checkout.js')).checkout(run, options));

withConnection(
  program
    .command('ui')
    .description('show runs, logs, charts and instances in the browser, on a page that this machine alone serves')
    .option('--port <port>', 'port of 127.0.0.1 to listen on; 0: any free port', '0')
    .option('--no-open', 'only print the address')
    .option('--project <name>', 'show only this project, with the store that it configures'),
  WHERE_IN_NX_JSON,
).action(async (options) => (await import('./ui.js')).ui(options));

program
  .command('ssh-proxy')
  .description(
    'carry the connection of ssh to the instance of a host that remote-ssh-config has written: its ProxyCommand',
  )
  .argument('<file>', 'host.json of the host')
  .action(async (file: string) => (await import('./ssh-proxy.js')).sshProxy(file));

const instances = program
  .command('instances')
  .description('list and clean up the instances and other resources that nx-ec2 launched');

withAccount(
  instances
    .command('list')
    .description('list the resources that nx-ec2 launched in the account and region: owner, cost, and when they end')
    .option('--mine', 'only your own')
    .option('--project <name>', 'only those launched for this project')
    .option('--verbose', 'show the source of each price'),
).action(async (options) => (await import('./list.js')).list(options));

withConnection(
  instances
    .command('clean')
    .description('list expired resources that nx-ec2 launched; with --apply, terminate, stop or delete them')
    .option('--apply', 'clean up; without this, nothing is changed')
    .option('--all', 'those of all users, not only your own'),
  WHERE_IN_NX_JSON,
)
  .addHelpText(
    'after',
    `
Expired: an instance or fleet 10 minutes past its lifetime or deadline, or past the time for which it is kept after its
run; an instance whose run is not in the store 30 minutes after the launch; launch templates that no fleet uses; volumes
and spot requests without an instance. Never touched: instances with an active run, stopped instances, and anything
without the tag nx-ec2:managed=true.`,
  )
  .action(async (options) => (await import('./clean.js')).clean(options));

const store = program.command('store').description('remove unreachable objects from the store');

withConnection(
  store
    .command('prune')
    .description('list the unreachable objects of the store; with --apply, remove them (safe while others sync)')
    .option('--apply', 'remove them; without this, nothing is changed')
    .option('--older-than <duration>', 'keep objects younger than this; at least 7d', '14d')
    .option('--refs-older-than <duration>', 'keep nothing for trees that were not synced for this time', '90d')
    .option('--keep-snapshots <number>', 'number of newest snapshots to keep of each project in use, however old', '20')
    .option(
      '--runs-older-than <duration>',
      'remove runs that were not written to for this time, and all their files',
      '90d',
    )
    .option('--keep-runs <number>', 'number of newest runs to keep of each project, however old', '20')
    .option('--verbose', 'list each stale or damaged object'),
  WHERE_IN_NX_JSON,
)
  .addHelpText(
    'after',
    `
Kept: objects younger than --older-than; the snapshot of each tree that was synced within --refs-older-than, with its
manifests and packs; the newest manifests of such trees' projects; runs younger than --runs-older-than, the newest runs,
and their code. Other packs, manifests and refs are marked first, and removed by a prune at least 8 days later if they
are still unreachable. Run it every week.`,
  )
  .action(async (options) => (await import('./prune.js')).prune(options));

/** Ends the process after help, or after a wrong command line: with a machine-readable line where one was asked for. */
function exitWith(failure: number): (error: CommanderError) => never {
  return ({ exitCode, message }) => {
    const isFailure = exitCode !== 0;
    const json = process.argv.includes('--json');
    const error = { code: 'COMMAND_LINE_INVALID', message: message.replace(/^error: /, '') };
    if (isFailure) new Printer({ json }).result({ success: false, error });
    return process.exit(isFailure ? failure : 0);
  };
}

/** The options that say where the store is. */
function withConnection(command: Command, where: string): Command {
  return withAccount(
    command.option('--bucket <name>', where).option('--prefix <prefix>', 'key prefix of the store in the bucket'),
  );
}

function withAccount(command: Command): Command {
  return command
    .option('--region <region>', 'AWS region')
    .option('--profile <profile>', 'profile of the AWS configuration files')
    .option('--json', 'print one machine-readable line on stdout, everything else on stderr');
}
