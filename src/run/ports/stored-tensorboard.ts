import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Problem } from '../../report/problem';
import { sleep } from '../../system/sleep';
import type { RunContext } from '../../context/types';
import { pullRun } from '../artifacts/pull';
import type { RunRecord } from '../record/record';
import { LocalPort } from './local-port';
import { OutputTail } from './output-tail';
import type { PortPair } from './port-option';
import { tensorboard } from './tools';

/** Of what a training saved: its event files. */
const EVENT_FILES = ['events.out.tfevents.*', '**/events.out.tfevents.*'];
/** From the start of TensorBoard until it answers, ms. */
const START_TIMEOUT_MS = 120_000;
const POLL_MS = 100;
/** What a shell exits with where there is no such program. */
const NOT_FOUND = 127;
/**
 * Runs the program, and ends it when standard input ends, as it does when this process is killed; then removes the
 * directory. In a process group of its own: Ctrl+C in a terminal is for this process, which ends it.
 */
const SCRIPT = `
exec 3<&0
directory=$1; shift
"$@" </dev/null 3<&- & program=$!
(while read -r _ <&3; do :; done; kill "$program") >/dev/null 2>&1 &
wait "$program"; code=$?
rm -rf -- "$directory"
exit "$code"
`;

/**
 * Shows the event files that runs have saved, in TensorBoard on this machine, until it ends or the signal comes. They are
 * fetched into a temporary directory, a directory for each run.
 * @param onOpen gets the port when it answers.
 * @throws Problem PROGRAM_MISSING, TOOL_FAILED, PORT_IN_USE, and those of pullRun.
 */
export async function showStored(
  context: RunContext,
  runs: readonly RunRecord[],
  pair: PortPair,
  signal: AbortSignal,
  onOpen: (port: number) => void,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-tensorboard-'));
  try {
    await fetchEventFiles(context, runs, directory, signal);
    await runTensorboard(context, directory, await freePort(pair, context), signal, onOpen);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function fetchEventFiles(
  context: RunContext,
  runs: readonly RunRecord[],
  directory: string,
  signal: AbortSignal,
): Promise<void> {
  const { projectRoot, train } = context.configuration;
  let missing: Problem | undefined;
  let found = 0;
  for (const run of runs) {
    const output = join(directory, run.id);
    try {
      const { outputs, maxArtifactSize: limit } = train;
      await pullRun(context, run, { output, projectRoot, outputs, paths: EVENT_FILES, limit, signal });
      found++;
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== 'NOTHING_TO_PULL') throw error;
      missing = error;
      if (runs.length > 1) context.printer.warn(`${run.id} has no event files in the store.`);
    }
  }
  if (!found && missing) throw missing;
}

async function runTensorboard(
  { printer }: RunContext,
  directory: string,
  port: number,
  signal: AbortSignal,
  onOpen: (port: number) => void,
): Promise<void> {
  const { name, programs } = tensorboard();
  const [program, ...args] = programs[0].map((word) => word.replace('{port}', String(port)));
  const output = new OutputTail((line) => printer.detail(line));
  printer.line(`Starting ${name} on this machine.`);
  const child = spawn('/bin/sh', ['-c', SCRIPT, 'sh', directory, program, ...args], {
    cwd: directory,
    stdio: 'pipe',
    detached: true,
    env: process.env,
  });
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => output.add(data));
  const exited = once(child, 'close');
  const ended = exited.then(([code]: unknown[]) => {
    if (code === NOT_FOUND) throw missing(program);
    throw output.failed(`${name} on this machine ended with exit code ${String(code)}.`);
  });
  ended.catch(() => undefined);
  const over = new AbortController();
  const until = AbortSignal.any([signal, over.signal]);
  try {
    await Promise.race([answers(port, until), ended]).catch((error: unknown) => {
      throw error instanceof Late ? output.failed(`${name} on this machine ${error.message}.`) : error;
    });
    onOpen(port);
    await Promise.race([ended, aborted(until)]);
  } finally {
    over.abort();
    child.stdin.destroy();
    await exited;
  }
}

class Late extends Error {}

/** Resolves when something answers on a port of this machine. */
async function answers(port: number, signal: AbortSignal): Promise<void> {
  const until = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    const answered = await fetch(`http://127.0.0.1:${port}/`, { signal }).then(
      (response) => response.body?.cancel().then(() => true) ?? true,
      () => false,
    );
    if (answered) return;
    if (performance.now() > until) throw new Late(`does not answer after ${START_TIMEOUT_MS / 1000} s`);
    await sleep(POLL_MS, signal);
  }
}

function missing(program: string): Problem {
  return new Problem(
    'PROGRAM_MISSING',
    `The instance of the run is gone, and this machine has no ${program} to show what the run has saved.`,
    { next: `Install it, for example: uv tool install ${program}` },
  );
}

/** A port of this machine that is free now: TensorBoard takes it. */
async function freePort(pair: PortPair, { printer }: RunContext): Promise<number> {
  const opened = await LocalPort.open(pair, { connect: async () => undefined, onLoop: () => undefined });
  const { port } = opened;
  opened.close();
  if (pair.local === undefined && port !== pair.remote)
    printer.line(`The port ${pair.remote} of this machine is in use: ${port} takes its place.`);
  return port;
}

async function aborted(signal: AbortSignal): Promise<never> {
  if (!signal.aborted) await once(signal, 'abort');
  throw signal.reason;
}
