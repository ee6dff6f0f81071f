import { newSources } from './metrics-line';

describe('the places that metrics are read from', () => {
  it('are told once each, together where they are told at once', () => {
    const told = new Set<string>();
    expect(newSources([], told)).toBeNull();
    expect(newSources(['the log'], told)).toBe('Metrics are read from the log.');
    expect(newSources(['the log'], told)).toBeNull();
    expect(newSources(['the log', 'a/metrics.csv', 'runs'], told)).toBe(
      'Metrics are read from a/metrics.csv and runs.',
    );
    expect(newSources(['runs', 'the log', 'a/metrics.csv'], told)).toBeNull();
    expect(newSources(['a', 'b', 'c'], told)).toBe('Metrics are read from a, b and c.');
  });

  it('come from the instance: what could move the cursor is made visible', () => {
    expect(newSources(['out/\x1b[2Ja\u202e/metrics.csv'], new Set())).not.toMatch(/[\x1b\u202e]/);
  });
});
