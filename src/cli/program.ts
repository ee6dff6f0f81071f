import { Command, type CommanderError } from 'commander';
import { Reporter } from '../report/reporter';
import { ownVersion } from './own-version';
import { NOT_KNOWN } from './run-exit-code';

const RUN_PROJECT = "the run's project; default: the one whose name is in the run's id";
const WHERE_CONFIGURED = 'default, as for the following: what is configured for the project';
const WHERE_IN_NX_JSON = 'default, as for the following: the options of nx-ec2 in nx.json';

/** The command line of nx-ec2; each verb loads its module when it is called. */
export const program = new Command('nx-ec2')
  .description('Commands on the workspace or the account. A project is trained with nx run <project>:remote-train.')
  .version(ownVersion(), '-V, --version', "print the package's version")
  // The commands below inherit it.
  .exitOverride(exitWith(1))
  .showHelpAfterError('The commands and their options: npx nx-ec2 --help');

program
  .command('local-aws')
  .description('run S3, SSM, EC2 and STS on loopback, with instances that are processes of this machine')
  .option('--port <port>', 'port to listen on; 0: any', '4566')
  .option('--directory <path>', 'where its state is kept', '.nx-ec2/local-aws')
  .option('--region <region>', 'its region', 'eu-west-1')
  .option('--bucket <name>', 'a bucket to create', 'nx-ec2-local')
  .option('--instance <name>', 'an instance to run', 'local')
  .option('--boot <duration>', "from an instance's launch to its agent being online", '1s')
  .option('--network <profile>', 'the network to simulate: wan, or a round trip and rates, e.g. 60ms,50Mbit,200Mbit')
  .option('--agent-channel <channel>', 'how its agents get their commands: gateway or ec2messages', 'gateway')
  .option('--faults <file>', 'faults to inject: a JSON list, see docs/reference/local-aws.md')
  .option('--json', 'print one machine-readable line')
  .action(async (options) => (await import('./local-aws.js')).localAws(options));

program
  .command('cache-key')
  .description(
    'print the identity of all that a training of a project is sent, datasets included: the runtime input of its remote-train',
  )
  .argument('<projectRoot>', "the project's directory, relative to the workspace")
  .action(async (projectRoot: string) => (await import('./cache-key.js')).cacheKey(projectRoot));

const runs = program
  .command('runs')
  .description('list, compare and wait for runs; for scripts as well')
  // The exit code 1 would be that of a run.
  .exitOverride(exitWith(NOT_KNOWN));

withConnection(
  runs
    .command('list')
    .description('list the runs of a project')
    .option('--project <name>', 'the project')
    .option('--limit <number>', 'list so many at most', '20')
    .option('--watch', 'list again at each change until no run is active'),
  WHERE_CONFIGURED,
).action(async (options) => (await import('./runs.js')).runsList(options));

const EXIT_CODE = `
Exit code: 0 if the run succeeded; else that of its program, or 128 and the number of the signal that killed it; 1 if
the run has neither (it was lost, its set-up failed, or it was cancelled and exited with 0); 125 if it can't be told how
the run ended; 130 after Ctrl+C, which leaves the run alone.`;

for (const [name, description] of [
  ['status', 'show a run in full'],
  ['wait', 'wait until a run has ended; the exit code is that of the run'],
  ['logs', 'print the log of a run and follow it to its end; the exit code is that of the run, if it has ended'],
] as const) {
  const verb = runs
    .command(name)
    .description(description)
    .argument('[run]', 'the id of a run, or last: your latest one of the project', 'last')
    .option('--project <name>', RUN_PROJECT);
  if (name === 'status') verb.option('--watch', 'show it again at each change until it has ended');
  if (name === 'logs') {
    verb.option('--since <time>', 'begin at a time, or a duration before now: 10m');
    verb.option('--tail <lines>', 'begin with the last lines');
    verb.option('--no-follow', 'end at the end of the log so far');
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
    .description('show how two runs differ: code, configuration, datasets, packages, course, metrics, artifacts')
    .argument('<before>', 'the id of a run')
    .argument('<after>', 'the id of another')
    .option('--project <name>', RUN_PROJECT),
  WHERE_CONFIGURED,
).action(async (before: string, after: string, options) => (await import('./diff.js')).diff(before, after, options));

withConnection(
  runs
    .command('checkout')
    .description('write the exact code of a run into a directory of its own')
    .argument('<run>', 'the id of the run')
    .option('--output <directory>', "a new or empty directory. Default: the run's id, beside the workspace")
    .option('--project <name>', RUN_PROJECT)
    .option('--verbose', 'print details'),
  WHERE_CONFIGURED,
).action(async (run: string, options) => (await import('./checkout.js')).checkout(run, options));

const instances = program.command('instances').description('list and clean up what nx-ec2 has launched');

withAccount(
  instances
    .command('list')
    .description('list what nx-ec2 has launched in the account and region: owner, cost, and what will end it')
    .option('--mine', 'only your own')
    .option('--project <name>', 'only what was launched for this project')
    .option('--verbose', 'name the source of each price'),
).action(async (options) => (await import('./list.js')).list(options));

withConnection(
  instances
    .command('clean')
    .description('list what nx-ec2 has launched and should have ended; with --apply, end it')
    .option('--apply', 'end it; without this, nothing is changed')
    .option('--all', "also others', not only your own"),
  WHERE_IN_NX_JSON,
)
  .addHelpText(
    'after',
    `
Should have ended: an instance or a fleet 10 minutes past its lifetime or its deadline, or after the time that it is
kept when its run has ended; an instance whose run is not in the store 30 minutes after the launch; launch templates
that no fleet uses, volumes without an instance, spot requests without one. Never touched: what has an active run, what
was stopped, and anything without the tag nx-ec2:managed.`,
  )
  .action(async (options) => (await import('./clean.js')).clean(options));

const store = program.command('store').description('remove objects that nothing needs from the store');

withConnection(
  store
    .command('prune')
    .description('list the objects of the store that nothing needs; with --apply, remove them (safe while others sync)')
    .option('--apply', 'remove it; without this, nothing is changed')
    .option('--older-than <duration>', 'keep everything that is younger; at least 7d', '14d')
    .option('--refs-older-than <duration>', 'trees that were not synced for this time keep nothing in the store', '90d')
    .option('--keep-records <number>', 'keep the newest snapshots of each project that is in use, however old', '20')
    .option(
      '--runs-older-than <duration>',
      'remove runs that were not written to for this time, with all their files',
      '90d',
    )
    .option('--keep-runs <number>', 'keep the newest runs of each project, however old', '20')
    .option('--verbose', 'name each stale or damaged object'),
  WHERE_IN_NX_JSON,
)
  .addHelpText(
    'after',
    `
Kept: what is younger than --older-than; what a tree that was synced within --refs-older-than holds, with the manifests
and packs that lead to it; the newest manifests of such trees' projects; and runs that are younger than
--runs-older-than, the newest ones, and their code. Other packs, manifests and refs are marked first, and removed by a
prune at least 8 days later if nothing needs them by then: run it every week.`,
  )
  .action(async (options) => (await import('./prune.js')).prune(options));

/** Ends the process after help, or after a wrong command line: with a machine-readable line where one was asked for. */
function exitWith(failure: number): (error: CommanderError) => never {
  return ({ exitCode, message }) => {
    const isFailure = exitCode !== 0;
    const json = process.argv.includes('--json');
    const error = { code: 'COMMAND_LINE_INVALID', message: message.replace(/^error: /, '') };
    if (isFailure) new Reporter({ json }).result({ success: false, error });
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
