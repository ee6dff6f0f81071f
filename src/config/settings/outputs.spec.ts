import fc from 'fast-check';
import picomatch from 'picomatch';
import { GLOB } from '../syntax/glob-expression';
import {
  allOutputs,
  ANY_DIRECTORIES,
  ANY_FILES,
  literalOutputs,
  outputFault,
  outputFinder,
  outputMatcher,
  outputRule,
  writtenPaths,
} from './outputs';
import { directory, glob, matchHere, matchInPython, path } from '../syntax/portable.fixture';

describe('outputs', () => {
  it('match a name with a line break at its end only if they name it', () => {
    const paths = ['.\n', 'a\n', 'a', '..\n/b', '$\n', 'b$'];
    const pairs = (each: string) => paths.map((of): [string, string] => [each, of]);
    expect(matchInPython(pairs('**'))).toEqual(paths.map(() => true));
    expect(matchInPython(pairs('a'))).toEqual([false, false, true, false, false, false]);
    expect(matchInPython(pairs('*[$]'))).toEqual([false, false, false, false, false, true]);
    expect(matchInPython(pairs('*$'))).toEqual([false, false, false, false, false, true]);
  });

  it('match the same paths on the instance as here', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(glob, path), { minLength: 400, maxLength: 400 }), (pairs) => {
        const here = pairs.map(([each, of]) => each === of || picomatch.makeRe(each, GLOB).test(of));
        expect(matchInPython(pairs)).toEqual(here);
      }),
      { numRuns: 4, endOnFailure: true },
    );
  });

  it('name files, and directories with everything in them', () => {
    const written = [
      'snapshot.pt',
      'wandb/',
      './lightning_logs/version_*/',
      '**/*.ckpt',
      { path: 'raw', download: false },
    ];
    const find = outputFinder(allOutputs(written));
    const expected: Record<string, string | undefined> = {
      'snapshot.pt': 'snapshot.pt',
      'snapshot.pt2': undefined,
      'wandb/run/x': 'wandb',
      wandbs: undefined,
      'lightning_logs/version_3/metrics.csv': 'lightning_logs/version_*',
      'lightning_logs/other': undefined,
      'a/b/c.ckpt': '**/*.ckpt',
      'a/dir.ckpt/part': '**/*.ckpt',
      'raw/x.ckpt': '**/*.ckpt',
      'raw/x': 'raw',
      'artifacts/model.bin': 'artifacts',
      'train.py': undefined,
    };
    for (const [each, output] of Object.entries(expected)) expect([each, find(each)?.path]).toEqual([each, output]);
    expect(find('raw/x')!.download).toBe(false);
    expect(outputMatcher('libs/(m)', allOutputs(written))('libs/(m)/wandb/x')).toBe(true);
    expect(outputMatcher('libs/(m)', allOutputs(written))('wandb/x')).toBe(false);
    expect(literalOutputs(allOutputs(written))).toEqual(['snapshot.pt', 'wandb', 'raw', 'artifacts']);
  });

  it('that are paths match themselves and what is below, whatever characters they contain', () => {
    fc.assert(
      fc.property(directory, path, (each, below) => {
        const output = allOutputs([each])[0];
        fc.pre(outputFaultOf(each) === null);
        const find = outputFinder([output]);
        expect(find(output.path)).toBe(output);
        expect(find(`${output.path}/${below}`)).toBe(output);
        expect(matchHere(output.path, output.path)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  it.each(['/x', '..', '../x', 'a/../../x'])('must be inside the project: %s', (each) => {
    expect(outputFaultOf(each)).toBe('is not inside the project');
  });

  it.each(['.', './', '**', '*', 'a/..', '*/**'])('must not be the whole project: %s', (each) => {
    expect(outputFaultOf(each)).toBe('is the whole project');
  });

  it.each(['a', 'a/', '*.pt', '**/*.pt', '..x'])('may be part of the project: %s', (each) => {
    expect(outputFaultOf(each)).toBeNull();
  });

  it('are not sent, and neither are checkpoints', () => {
    const written = { outputs: ['out/'], checkpoints: { paths: ['logs/**/checkpoints', './snapshot.pt'] } };
    const isWritten = outputMatcher('model', writtenPaths(written));
    const paths = ['out/a', 'logs/v0/checkpoints/last.ckpt', 'snapshot.pt', 'logs/v0/metrics.csv', 'train.py'];
    expect(paths.filter((path) => isWritten(`model/${path}`))).toEqual(paths.slice(0, 3));
  });

  describe('that match any name, in any spelling', () => {
    const any = fc.constantFrom(
      '*',
      '?*',
      '*?',
      '{,*}',
      '[a-z]*',
      '[^.]*',
      '@(*)',
      '+([a-z0-9_.-])',
      '!(x)',
      '*[^.]',
      '?[^.]*',
      '[[:alnum:]]*',
    );
    const whole = fc.tuple(fc.constantFrom('', './', '**/'), fc.array(any, { minLength: 1, maxLength: 4 }));

    it('are refused, at any depth', () => {
      fc.assert(
        fc.property(whole, ([before, parts]) => {
          expect(outputFaultOf(before + parts.join('/'))).toBe('is the whole project');
        }),
        { numRuns: 300 },
      );
    });

    it.each(['*.*', '**/*.*', '{*,*/**}', '!(*.*)', '{**/*,x}', '????*'])('are refused: %s', (each) => {
      expect(outputFaultOf(each)).toBe('is the whole project');
    });

    it('are accepted if one part of the path gives part of a name', () => {
      fc.assert(
        fc.property(
          whole,
          fc.constantFrom('out', 'run-*', '*.pt', 'v[0-9]'),
          fc.boolean(),
          ([before, parts], own, first) => {
            const glob = before + (first ? [own, ...parts] : [...parts, own]).join('/');
            fc.pre(!/at most|more than/.test(outputFaultOf(glob) ?? ''));
            expect([glob, outputFaultOf(glob)]).toEqual([glob, null]);
          },
        ),
        { numRuns: 300 },
      );
    });

    it('are recognized if they match each of many different names', () => {
      const names =
        'src data train.py project.json README.md notebook.ipynb setup.cfg utils tests a.b 2024 Makefile .env weights.pt x_y'.split(
          ' ',
        );
      fc.assert(
        fc.property(
          fc.oneof(
            glob,
            fc.array(any, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/')),
          ),
          (each) => {
            fc.pre(outputFaultOf(each) === null);
            const find = outputFinder([allOutputs([each])[0]]);
            expect(names.every((name) => find(name))).toBe(false);
          },
        ),
        { numRuns: 500 },
      );
    });

    it('are recognized by sample names that have no character in common', () => {
      for (const names of [ANY_FILES.map((name) => name.replace('.', '')), ANY_DIRECTORIES]) {
        const shared = [...names[0]].filter((character) => names.every((name) => name.includes(character)));
        expect(shared).toEqual([]);
      }
    });
  });

  it('tell the instance in which directories to look', () => {
    expect(allOutputs(['out/x', 'logs/v*/', '**/*.pt']).map((each) => outputRule(each).base)).toEqual([
      'out/x',
      'logs',
      '',
      'artifacts',
    ]);
  });
});

function outputFaultOf(written: string): string | null {
  try {
    return outputFault(allOutputs([written])[0]);
  } catch (error) {
    return (error as Error).message;
  }
}
