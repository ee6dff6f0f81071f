import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { resolveConfiguration } from '../config/configuration';

const DIRECTORY = join(__dirname, '../../docs/how-to');
/** Pages that promise three settings at most. */
const SHORT = ['frameworks.md', 'python-environments.md', 'train-a-script.md'];

const blocks = readdirSync(DIRECTORY).flatMap((page) => {
  const text = readFileSync(join(DIRECTORY, page), 'utf8');
  return [...text.matchAll(/^```json\n(\{[^]*?)^```$/gm)].map(([, json]): [string, string] => [page, json]);
});

describe('a configuration in docs/how-to', () => {
  it.each(blocks)('of %s is valid', (page, json) => {
    const { $schema: _, ...values } = JSON.parse(json) as Record<string, object>;
    const configuration = resolveConfiguration({
      ...{ workspaceRoot: DIRECTORY, projectName: 'model', projectRoot: '.', nxJson: {}, target: 'remote-train' },
      options: { bucket: 'bucket', instance: 'box', ...values },
      environment: {},
    });
    expect(configuration.train.script ?? configuration.train.command).toBeTruthy();
    const settings = Object.values(values).flatMap((section) => Object.keys(section));
    if (SHORT.includes(page)) expect(settings.length).toBeLessThanOrEqual(3);
  });

  it('is found on each page of projects', () => {
    expect(SHORT.filter((page) => !blocks.some(([each]) => each === page))).toEqual([]);
  });
});
