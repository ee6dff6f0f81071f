import { total } from './floor';
import { formatBytes, formatMs } from './format';
import type { LinkProfile, NetworkProfile } from '../../src/local-aws/link/network';
import { AGAINST, type Measure, type Result } from '../scenarios/scenario';

export function describeNetwork({ client, instance, pickUp = 0 }: NetworkProfile): string {
  const link = ({ roundTrip = 0, connect = 0, up, down }: LinkProfile = {}) =>
    `${roundTrip} ms, ${connect} round trips for a new connection, ${rate(up)} up, ${rate(down)} down`;
  const rate = (bytes?: number) => (bytes ? `${(bytes * 8) / 1e6} Mbit/s` : 'unlimited');
  return `client: ${link(client)}; instance: ${link(instance)}; pick-up ${pickUp} ms`;
}

/** Lines of a table in Markdown, for one scenario. */
export function table({ scenario, input, floor, rows }: Result): string[] {
  const title = `${input}: ${scenario.title}`;
  const lines = rows.map(({ contender, measure, failure }, index) => {
    const cells = measure
      ? [
          formatMs(measure.time),
          floor ? (measure.time / total(floor)).toFixed(2) : '',
          ...[measure.processor.client, measure.processor.instance].map((ms) => (ms === undefined ? '' : formatMs(ms))),
          formatBytes(measure.sent),
          measure.requests || '',
        ]
      : [failure!.split('\n')[0], '', '', '', '', ''];
    return [index === 0 ? title : '', contender, ...cells];
  });
  const floorLine = floor ? [['', 'floor', formatMs(total(floor)), '1', '', '', '', '']] : [];
  return [...lines, ...floorLine].map((cells) => `| ${cells.join(' | ')} |`);
}

export const HEAD = [
  '| scenario | contender | time | × floor | processor | instance | sent | requests |',
  '| --- | --- | --: | --: | --: | --: | --: | --: |',
];

export interface Judged {
  text: string;
  value: string;
  met: boolean | null;
}

/** Each goal of a scenario with what became of it; `met` is null where there is nothing to judge. */
export function judge(result: Result): Judged[] {
  const ours = result.rows[0].measure;
  return result.scenario.goals.map((goal) => {
    const verdict = ours && goal.judge(ours, result);
    return verdict ? { text: goal.text, ...verdict } : { text: goal.text, value: 'not measured', met: null };
  });
}

export function goalLine({ text, value, met }: Judged): string {
  return `  ${met === null ? '-' : met ? '✓' : '✗'} ${text}: ${value}${met === false ? ', missed' : ''}`;
}

/** What changed from the package that --against names to the one that is measured. */
export function comparison({ rows }: Result): string[] {
  const [now, before] = [rows[0].measure, rows.find(({ contender }) => contender === AGAINST)?.measure];
  if (!now || !before) return [];
  const values = ({ more, processor }: Measure): [string, number | undefined][] => [
    ['our share of the time', more['our share']],
    ['our share of the processor time', more['processor, our share']],
    ['processor time on the instance', processor.instance],
  ];
  return values(now).flatMap(([what, value], index) => {
    const [, other] = values(before)[index];
    if (value === undefined || other === undefined) return [];
    const change = Math.round((value / other - 1) * 100);
    return `  ${what}: ${formatMs(other)} → ${formatMs(value)}, ${change > 0 ? '+' : ''}${change} %`;
  });
}

/** What --verbose adds: the floor's parts, and the times inside ours. */
export function detail({ floor, rows }: Result): string[] {
  const ours = rows[0].measure;
  return [
    ...(floor ?? []).map(([what, ms]) => `    floor: ${what}, ${formatMs(ms)}`),
    ...(ours ? inside(rows[0].contender, ours) : []),
    ...Object.entries(ours?.inTurn ?? {}).flatMap(([name, measure]) => inside(name, measure)),
    ...rows.flatMap(({ contender, failure }) => (failure ? [`    ${contender}: ${failure}`] : [])),
  ];
}

function inside(
  name: string,
  { startUp, loading, toCommand, onInstance, clientMemory, stored, more }: Measure,
): string[] {
  const parts = [
    startUp !== undefined && `process start and loading ${formatMs(startUp)}, not in the time`,
    loading !== undefined && `of it loading ${formatMs(loading)}`,
    toCommand !== undefined && `to the command ${formatMs(toCommand)}`,
    onInstance !== undefined && `on the instance ${formatMs(onInstance)}`,
    clientMemory !== undefined && `client's memory ${formatBytes(clientMemory)}`,
    `to S3 ${formatBytes(stored)}`,
    ...Object.entries(more).map(([what, value]) => `${what} ${Math.round(value * 100) / 100}`),
  ].filter(Boolean);
  return [`    ${name}: ${parts.join('; ')}`];
}
