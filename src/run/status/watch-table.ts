import { metricsOf } from '../follow/metrics-line';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { table } from '../../report/table';
import { formatDuration } from '../../report/units';
import { lossOf } from './loss-trends';
import { useOf } from './node-status';
import { amountOf, stateOf, took, type RunStatus, type UnverifiedRun } from './status';

/** What matters most is on the left: a line is cut where the terminal is narrow. */
const HEADS = ['RUN', 'STATE', 'DURATION', 'PROGRESS', 'METRIC', 'TREND', 'COST', 'USE', 'NODES', 'INSTANCE'];
/** The columns that are there also where no run has something to say in them. */
const ALWAYS = 3;

/** The runs of a project as a watch shows them. @param trends sparklines by the ids of runs. */
export function tableOfWatched(
  runs: readonly (RunStatus | UnverifiedRun)[],
  trends: ReadonlyMap<string, string>,
): string {
  const rows = runs.map((run) =>
    'why' in run
      ? [run.id, run.state, ...HEADS.slice(2).map(() => '')]
      : [
          run.id,
          stateOf(run),
          took(run),
          progressOf(run),
          metricOf(run),
          trends.get(run.id) ?? '',
          amountOf(run),
          run.state === 'ended' ? '' : useOf({ gpus: run.metrics.gpus, cpu: run.metrics.host?.cpu ?? null }),
          run.node ? String(run.node.count) : '',
          run.instance,
        ],
  );
  const used = HEADS.map((_, column) => column < ALWAYS || rows.some((row) => row[column] !== ''));
  return table([HEADS, ...rows].map((row) => row.filter((_, column) => used[column])));
}

function progressOf({ metrics: { progress } }: RunStatus): string {
  return progress ? `${progress.name} ${progress.value}` : '';
}

/** The loss, or the first metric that is not the progress. */
function metricOf({ metrics: { training, progress } }: RunStatus): string {
  const names = Object.keys(training).filter((name) => name !== progress?.name);
  const name = lossOf(names) ?? names[0];
  return name === undefined ? '' : metricsOf({ [name]: training[name] });
}

/** What is printed of a run that has changed, where nothing is drawn in place: `14:03:22 <run>: running, step 120, loss 0.5`. */
export function lineOf(run: RunStatus, now: Date): string {
  const duration = took(run);
  const parts = [
    stateOf(run),
    duration && `${duration} long`,
    progressOf(run),
    metricOf(run),
    run.state === 'ended' ? '' : useOf({ gpus: run.metrics.gpus, cpu: run.metrics.host?.cpu ?? null }),
    amountOf(run),
  ];
  return sanitizeForTerminal(`${clock(now)} ${run.id}: ${parts.filter(Boolean).join(', ')}`);
}

/** The last line of what is drawn in place. */
export function footer(pause: number, now: Date): string {
  return `${clock(now)} UTC, every ${formatDuration(pause)}. Ctrl+C leaves; the runs continue.`;
}

function clock(now: Date): string {
  return now.toISOString().slice(11, 19);
}
