import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { assertNotHome } from './pull-target';

describe('the directory that a pull writes to', () => {
  let home: string;
  beforeEach(() => {
    home = realpathSync(mkdtempSync(join(tmpdir(), 'home-')));
  });
  afterEach(() => rmSync(home, { recursive: true }));

  const refused = (output: string) => {
    try {
      assertNotHome(output, 'run-1', home);
      return null;
    } catch (error) {
      return (error as Error).message;
    }
  };

  it('is neither the home directory nor one above it, by whatever name', () => {
    symlinkSync(home, join(home, 'link'));
    expect(refused(home)).toMatch(/is your home directory/);
    expect(refused(join(home, 'link'))).toMatch(/is your home directory/);
    expect(refused(dirname(home))).toMatch(/holds your home directory/);
    expect(refused('/')).toMatch(/holds your home directory/);
  });

  it('may be any other directory, also a project of a workspace', () => {
    for (const output of ['models', 'models/not/there', '..models']) expect(refused(join(home, output))).toBeNull();
    expect(refused(`${home}-beside`)).toBeNull();
    mkdirSync(join(home, 'model'));
    writeFileSync(join(home, 'nx.json'), '{}');
    expect(refused(home)).toBeNull();
    expect(refused(join(home, 'model'))).toBeNull();
  });
});
