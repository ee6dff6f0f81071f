import fc from 'fast-check';
import { recordOf } from '../record/saved-run.fixture';
import { lossOf, sparkline } from './loss-trends';
import type { RunStatus } from './status';
import { lineOf, tableOfWatched } from './watch-table';

const base = recordOf();
const gpu = { index: 0, name: 'A10G', memoryUsed: 1, memoryTotal: 4, temperature: null, power: null };
const running: RunStatus = {
  ...base,
  state: 'running',
  outcome: null,
  startedAt: Date.now() - 60_000,
  since: Date.now() - 60_000,
  endedAt: null,
  attempts: [],
  heard: 1,
  silent: false,
  node: { rank: 0, count: 2 } as RunStatus['node'],
  metrics: {
    ...base.metrics,
    gpus: [
      { ...gpu, utilization: 90 },
      { ...gpu, utilization: 70 },
    ],
    training: { step: 120, accuracy: 0.9, val_loss: 0.75, train_loss: 0.5 },
    progress: { name: 'step', value: 120, secondsPerStep: 0.5 },
  },
};

describe('the table of a watch', () => {
  it('shows state, nodes, GPUs, progress, the loss and how it went', () => {
    const text = tableOfWatched([running, { id: 'x', state: 'unverified', why: 'y' }], new Map([[running.id, '█▁']]));
    expect(text.split('\n')).toEqual([
      expect.stringMatching(/^RUN +STATE +DURATION +PROGRESS +METRIC +TREND +USE +NODES +INSTANCE$/),
      expect.stringMatching(
        new RegExp(
          `^${running.id} +running +(60 s|1m 0\\ds) +step 120 +train_loss 0.5 +█▁ +GPU 2 x 80 %, memory 25 % +2 +${running.instance}$`,
        ),
      ),
      'x                             unverified',
    ]);
  });

  it('has no columns in which nothing is said, and no use of instances whose run has ended', () => {
    const text = tableOfWatched(
      [{ ...base, metrics: { ...base.metrics, training: {} }, heard: 1, silent: false }],
      new Map(),
    );
    expect(text.split('\n')[0]).toMatch(/^RUN +STATE +DURATION +INSTANCE$/);
  });

  it('shows texts of the instance that could move the cursor as such', () => {
    const training = { '\x1b[2J\u202eloss': 1, '\x1b[A': 2 };
    const hostile = { ...running, metrics: { ...running.metrics, training, progress: null } };
    for (const text of [tableOfWatched([hostile], new Map()), lineOf(hostile, new Date(0))])
      expect(text).not.toMatch(/[\x1b\u202e]/);
  });

  it('has a line for a change', () => {
    expect(lineOf(running, new Date(0))).toMatch(
      new RegExp(`^00:00:00 ${running.id}: running, \\S+ s? ?.*long, step 120, train_loss 0.5, GPU 2 x 80 %`),
    );
  });
});

describe('the loss of a run', () => {
  it.each([
    [['accuracy', 'loss', 'train_loss'], 'loss'],
    [['val_loss', 'train_loss'], 'train_loss'],
    [['eval_loss', 'box/loss'], 'box/loss'],
    [['val_loss'], 'val_loss'],
    [['glossary', 'step', 'lossy'], null],
    [[], null],
  ])('of %j is %s', (names, name) => expect(lossOf(names)).toBe(name));

  it('is a line from high to low', () => {
    expect(sparkline([8, 7, 6, 5, 4, 3, 2, 1])).toBe('█▇▆▅▄▃▂▁');
    expect(sparkline([1])).toBe('');
    expect(sparkline([3, 3, 3])).toBe('▅▅▅');
    expect(sparkline(Array.from({ length: 1000 }, (_, n) => n))).toBe('▁▁▂▃▃▄▅▆▆▇██');
  });

  it('is a line of at most 12 characters of any finite numbers', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { maxLength: 60 }), (values) => {
        expect(sparkline(values)).toMatch(values.length < 2 ? /^$/ : /^[▁▂▃▄▅▆▇█]{2,12}$/);
      }),
    );
  });
});
