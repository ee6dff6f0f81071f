import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { NETWORK_PROFILES } from '../src/local-aws/link/network';
import { awsSync } from './contenders/aws-sync';
import { casync } from './contenders/casync';
import type { Contender } from './contenders/contender';
import { ours } from './contenders/ours';
import { rsync, rsyncSsh, rsyncSshKept } from './contenders/rsync';
import { tarball } from './contenders/tarball';
import { makeInput, type Input, type InputName } from './inputs/inputs';
import { measureAll } from './measure';
import { measureProcessor } from './processor/throughput';
import { packPlugin, preferInterpreter, root } from './programs';
import { comparison, describeNetwork, detail, goalLine, HEAD, judge, table } from './report/report';
import type { OtherPlugin, Result } from './scenarios/scenario';
import { scenarios } from './scenarios';

/** Ours is the first: the others are what it is held against. */
const contenders: Contender[] = [ours, tarball, awsSync, rsync, rsyncSsh, rsyncSshKept, casync];

const MACHINE = `${cpus().length} × ${cpus()[0]?.model}`;

interface Options {
  only?: string[];
  with?: string[];
  scale: number;
  limit: number;
  repeat: number;
  json?: string;
  rounds: number;
  package?: string;
  against?: string;
  directory: string;
  processor?: boolean;
  list?: boolean;
  verbose?: boolean;
}

async function main(options: Options): Promise<void> {
  if (!(options.scale > 0)) throw new Error('--scale takes a number above 0');
  if (!(options.repeat >= 1)) throw new Error('--repeat takes 1 or more');
  const taken = [ours, ...choose(contenders.slice(1), options.with)];
  const chosen = choose(scenarios, options.only);
  const network = NETWORK_PROFILES.wan;
  console.log(`Network: ${describeNetwork(network)}`);
  console.log(`Machine: ${MACHINE}, Node ${process.version}, scale ${options.scale}\n`);
  if (options.list) return list();
  if (options.processor) return console.log(measureProcessor().join('\n'));

  preferInterpreter();
  const plugin = options.package ?? packPlugin();
  const directory = mkdtempSync(join(options.directory, 'nx-ec2-bench-'));
  // Who trains is another user, who must get to the files.
  chmodSync(directory, 0o711);
  const clear = () => rmSync(directory, { recursive: true, force: true });
  process.once('SIGINT', () => {
    clear();
    process.exit(130);
  });
  const make = (name: InputName, at: string, tarball?: string) => makeInput(name, at, root, options.scale, tarball);
  const conditions = {
    network,
    directory,
    limit: options.limit * 1000,
    repeat: options.repeat,
    rounds: options.rounds,
    makeOther: (name: InputName, other: OtherPlugin) => {
      const tarball = other === 'against' ? options.against : undefined;
      return other === 'against' && !tarball ? null : make(name, join(directory, other), tarball);
    },
  };
  try {
    console.log(HEAD.join('\n'));
    const results: Result[] = [];
    let input: Input | undefined;
    for (const scenario of chosen) {
      if (input?.name !== scenario.input) {
        if (input) rmSync(input.workspace, { recursive: true });
        input = make(scenario.input, directory, plugin);
      }
      const result = await measureAll(scenario, taken, input, conditions);
      results.push(result);
      console.log(table(result).join('\n'));
    }
    console.log('\nGoals');
    for (const result of results) {
      console.log(`${result.input}: ${result.scenario.title}`);
      for (const line of [...judge(result).map(goalLine), ...comparison(result)]) console.log(line);
      if (options.verbose) console.log(detail(result).join('\n'));
    }
    if (options.json) writeFileSync(options.json, `${JSON.stringify(asJson(results, options), null, 2)}\n`);
  } finally {
    clear();
  }
}

/** Those that are named, in their own order; all where none is. */
function choose<T extends { name: string }>(from: T[], wanted: string[] | undefined): T[] {
  const unknown = wanted?.find((name) => !from.some((each) => each.name === name));
  if (unknown !== undefined) throw new Error(`no ${unknown}; there are ${from.map(({ name }) => name).join(', ')}`);
  return from.filter(({ name }) => wanted?.includes(name) ?? true);
}

function list(): void {
  for (const { name, title, input, goals } of scenarios)
    console.log(`${name.padEnd(16)} ${input}: ${title}; ${goals.map(({ text }) => text).join(', ')}`);
  console.log();
  for (const each of contenders)
    console.log(`${each.name.padEnd(16)} ${each.missing() ? `absent: ${each.missing()}` : each.about}`);
}

function asJson(results: Result[], { scale }: Options): object {
  return {
    scale,
    node: process.version,
    machine: MACHINE,
    results: results.map((result) => ({
      name: result.scenario.name,
      title: `${result.input}: ${result.scenario.title}`,
      network: result.network,
      floor: result.floor,
      rows: result.rows,
      goals: judge(result),
    })),
  };
}

new Command('bench')
  .description('Measures syncs over a network that local AWS makes, beside what physics and other programs allow.')
  .option('--only <names>', 'scenarios, by comma', (text) => text.split(','))
  .option('--with <names>', 'other contenders, by comma; all by default', (text) => text.split(','))
  .option('--scale <factor>', 'smaller inputs for a quick look', Number, 1)
  .option('--limit <seconds>', 'how long a contender may take for a scenario', Number, 1_800)
  .option('--repeat <times>', 'how often each is measured; the median counts', Number, 1)
  .option('--rounds <times>', 'how often each whole process is measured, in turn with the others', Number, 9)
  .option('--package <tarball>', 'the packed plugin that is measured; absent: one of dist/')
  .option('--against <tarball>', 'another packed plugin, measured in turn with it as a whole process')
  .option('--json <path>', 'write the results there, too')
  .option('--directory <path>', 'where inputs and instances are made and removed', tmpdir())
  .option('--processor', 'only what the client does to bytes: MB/s on one core')
  .option('--list', 'name scenarios and contenders; measure nothing')
  .option('--verbose', "the floor's parts, and the times inside")
  .action(main)
  .parseAsync()
  .catch((error: Error) => {
    console.error(`error: ${error.message}`);
    process.exitCode = 1;
  });
