import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { allOutputs } from '../../config/settings/outputs';
import { numberedDirectories } from './numbered-directories';

describe('directories that frameworks number by those that exist', () => {
  let root: string;
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'nx-ec2-numbered-'));
    for (const path of [
      ...['lightning_logs/version_0/version_7', 'lightning_logs/version_12', 'lightning_logs/version_x'],
      ...['logs/csv/version_3', 'runs/detect/train', 'runs/detect/train2', 'runs/train', 'tb/PPO_1'],
      ...['output/checkpoint-500', 'output/fold_1', 'elsewhere/version_1', 'artifacts/version_0'],
    ])
      mkdirSync(join(root, 'model', path), { recursive: true });
    writeFileSync(join(root, 'model/logs/version_4'), 'a file');
    symlinkSync(join(root, 'model/elsewhere'), join(root, 'model/logs/link'));
    mkdirSync(join(root, 'model/.tune/a/version_9'), { recursive: true });
  });
  afterAll(() => rmSync(root, { recursive: true }));

  const found = (...outputs: string[]) => numberedDirectories(root, 'model', allOutputs(outputs));

  it('are those of outputs, and no others', () => {
    expect(found()).toEqual(['artifacts/version_0']);
    expect(found('lightning_logs/', 'logs/', 'runs/', 'tb/', 'output/', 'absent/')).toEqual([
      ...['artifacts/version_0', 'lightning_logs/version_0', 'lightning_logs/version_12', 'logs/csv/version_3'],
      ...['runs/detect/train', 'runs/detect/train2', 'tb/PPO_1'],
    ]);
  });

  it('are found if an output has wildcards, and if an output is one of them', () => {
    expect(found('**/version_*/')).toEqual([
      ...['.tune/a/version_9', 'artifacts/version_0', 'elsewhere/version_1', 'lightning_logs/version_0'],
      ...['lightning_logs/version_12', 'logs/csv/version_3'],
    ]);
    expect(found('lightning_logs/version_12')).toEqual(['artifacts/version_0', 'lightning_logs/version_12']);
  });
});
