import { recordOf } from './saved-run.fixture';
import { describeRun } from './status';

describe('describeRun', () => {
  it('shows the warnings about the end of a run, and those about its metrics', () => {
    const record = recordOf();
    const warnings = ['The command ended and left a process running (tensorboard --port 6006); it was stopped.'];
    const text = describeRun({
      ...record,
      heard: 0,
      silent: false,
      warnings,
      metrics: { ...record.metrics, warnings: ['GPU 0 was idle'] },
    });
    expect(text.split('\n').filter((line) => line.startsWith('warning'))).toEqual([
      `warning     ${warnings[0]}`,
      'warning     GPU 0 was idle',
    ]);
  });
});
