#!/usr/bin/env node
import { Command } from 'commander';
import { printableLines } from '../report/terminal-text';
import { fileProblem } from '../report/file-problem';
import { ownVersion } from './own-version';

const program = new Command('nx-ec2')
  .description('What concerns the workspace or the account; training is done by nx run <project>:remote-train.')
  .version(ownVersion(), '-V, --version', "print the package's version")
  .showHelpAfterError('The commands and their options: npx nx-ec2 --help');

program
  .command('local-aws')
  .description('run S3, SSM, EC2 and STS on loopback, with instances that are processes of this machine')
  .option('--port <port>', 'port to listen on; 0: any', '4566')
  .option('--directory <path>', 'where its state is kept', '.nx-ec2/local-aws')
  .option('--region <region>', 'its region', 'eu-west-1')
  .option('--bucket <name>', 'a bucket to make', 'nx-ec2-local')
  .option('--instance <name>', 'an instance to run', 'local')
  .option('--boot <duration>', "from an instance's launch to its agent being online", '1s')
  .option('--network <profile>', 'how far away it seems: wan, or a round trip and rates, e.g. 60ms,50Mbit,200Mbit')
  .option('--agent-channel <channel>', 'how its agents get their commands: gateway or ec2messages', 'gateway')
  .option('--faults <file>', 'what goes wrong: a JSON list, see docs/LOCAL-AWS.md')
  .option('--json', 'print one machine-readable line')
  .action(async (options) => (await import('./local-aws.js')).localAws(options));

program
  .command('cache-key')
  .description(
    'print the identity of what a training of a project is sent, data in S3 included: the runtime input of its remote-train',
  )
  .argument('<projectRoot>', "the project's directory, relative to the workspace")
  .action(async (projectRoot: string) => (await import('./cache-key.js')).cacheKey(projectRoot));

program
  .command('diff')
  .description('show what differs between two runs: code, configuration, data, packages, how they went, what they left')
  .argument('<before>', 'the id of a run')
  .argument('<after>', 'the id of another')
  .option('--project <name>', "the runs' project; default: the one whose name is in the run's id")
  .option('--bucket <name>', 'default, as for the following: what is configured for the project')
  .option('--prefix <prefix>', 'key prefix of the store in the bucket')
  .option('--region <region>', 'AWS region')
  .option('--profile <profile>', 'profile of the AWS configuration files')
  .option('--json', 'print one machine-readable line on stdout, everything else on stderr')
  .action(async (before: string, after: string, options) => (await import('./diff.js')).diff(before, after, options));

program
  .command('checkout')
  .description('bring the exact code that a run ran into a directory of its own')
  .argument('<run>', 'the id of the run')
  .option('--output <directory>', "where; not there, or empty. Default: the run's id, beside the workspace")
  .option('--project <name>', "the runs' project; default: the one whose name is in the run's id")
  .option('--bucket <name>', 'default, as for the following: what is configured for the project')
  .option('--prefix <prefix>', 'key prefix of the store in the bucket')
  .option('--region <region>', 'AWS region')
  .option('--profile <profile>', 'profile of the AWS configuration files')
  .option('--verbose', 'say more')
  .option('--json', 'print one machine-readable line on stdout, everything else on stderr')
  .action(async (run: string, options) => (await import('./checkout.js')).checkout(run, options));

const runs = program.command('runs').description('look at runs and wait for them, for scripts: no output but its own');

for (const [name, description] of [
  ['status', 'list the runs of a project, or show one in full'],
  ['wait', 'wait until a run has ended; the exit code is that of the run'],
  ['logs', 'print the log of a run and follow it to its end; the exit code is that of the run, if it has ended'],
] as const) {
  const verb = runs
    .command(name)
    .description(description)
    .argument('[run]', 'the id of a run, or last: your latest one of the project')
    .option('--project <name>', "the run's project; default: the one whose name is in the run's id");
  if (name === 'status') {
    verb.option('--limit <number>', 'list so many at most', '20');
    verb.option('--watch', 'look again until no run goes on');
  }
  if (name === 'logs') {
    verb.option('--since <time>', 'begin at a time, or a duration before now: 10m');
    verb.option('--tail <lines>', 'begin with the last lines');
    verb.option('--no-follow', 'end at the end of what is written by now');
  }
  verb
    .option('--bucket <name>', 'default, as for the following: what is configured for the project')
    .option('--prefix <prefix>', 'key prefix of the store in the bucket')
    .option('--region <region>', 'AWS region')
    .option('--profile <profile>', 'profile of the AWS configuration files')
    .option('--json', 'print one machine-readable line on stdout, everything else on stderr')
    .action(async (run: string | undefined, options) => {
      const { runsStatus, runsWait, runsLogs } = await import('./runs.js');
      await { status: runsStatus, wait: runsWait, logs: runsLogs }[name](run, options);
    });
  if (name !== 'status')
    verb.addHelpText(
      'after',
      `
Exit code: 0 if the run succeeded; else that of its program, or 128 and the number of the signal that killed it; 1 if
the run has neither (it was lost, its set-up failed, or it was cancelled and exited with 0); 125 if it can't be told how
the run ended; 130 after Ctrl+C, which leaves the run alone.`,
    );
}

program
  .command('list')
  .description('list what nx-ec2 has made in the account and region: whose it is, what it costs, what will end it')
  .option('--mine', 'only your own')
  .option('--project <name>', 'only what was made for this project')
  .option('--region <region>', 'AWS region')
  .option('--profile <profile>', 'profile of the AWS configuration files')
  .option('--verbose', 'say where each price is from')
  .option('--json', 'print one machine-readable line on stdout, everything else on stderr')
  .action(async (options) => (await import('./list.js')).list(options));

program
  .command('clean')
  .description('list what nx-ec2 has made and should have ended; with --apply, end it')
  .option('--apply', 'end it; without this, nothing is changed')
  .option('--all', "also others', not only your own")
  .option('--bucket <name>', 'default, as for the following: the options of nx-ec2 in nx.json')
  .option('--prefix <prefix>', 'key prefix of the store in the bucket')
  .option('--region <region>', 'AWS region')
  .option('--profile <profile>', 'profile of the AWS configuration files')
  .option('--json', 'print one machine-readable line on stdout, everything else on stderr')
  .addHelpText(
    'after',
    `
Should have ended: an instance or a fleet 10 minutes past its lifetime or its deadline, or after the time that it is
kept when its run has ended; an instance whose run is not in the store 30 minutes after the launch; launch templates
that no fleet uses, volumes that no instance has, spot requests that have none. What has a run that goes on is never
touched, nor what was stopped, nor anything without the tag nx-ec2:managed.`,
  )
  .action(async (options) => (await import('./clean.js')).clean(options));

program
  .command('prune')
  .description('list what nothing in the store needs any more; with --apply, remove it (safe while others sync)')
  .option('--apply', 'remove it; without this, nothing is changed')
  .option('--older-than <duration>', 'keep everything that is younger; at least 7d', '14d')
  .option('--refs-older-than <duration>', 'trees that were not synced for so long keep nothing', '90d')
  .option('--keep-records <number>', 'keep the newest snapshots of each project that is in use, however old', '20')
  .option('--runs-older-than <duration>', 'runs that nothing was written of for so long go, with all they left', '90d')
  .option('--keep-runs <number>', 'keep the newest runs of each project, however old', '20')
  .option('--bucket <name>', 'default, as for the following: the options of nx-ec2 in nx.json')
  .option('--prefix <prefix>', 'key prefix of the store in the bucket')
  .option('--region <region>', 'AWS region')
  .option('--profile <profile>', 'profile of the AWS configuration files')
  .option('--verbose', 'name what is stale or damaged, all of it')
  .option('--json', 'print one machine-readable line on stdout, everything else on stderr')
  .addHelpText(
    'after',
    `
Needed is what is younger than --older-than; what a tree that was synced within --refs-older-than holds, with the
records and packs that lead to it; the newest records of such trees' projects; and runs that are younger than
--runs-older-than, the newest ones, and their code. Packs, records and stale refs that
are not are condemned first, and removed by a prune at least 8 days later if they still are not: run it every week.`,
  )
  .action(async (options) => (await import('./prune.js')).prune(options));

program.parseAsync().catch((error: Error & { exitCode?: number }) => {
  console.error(`error: ${printableLines((fileProblem(error) ?? error).message)}`);
  process.exitCode = error.exitCode ?? 1;
});
