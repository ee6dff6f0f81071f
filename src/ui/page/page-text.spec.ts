import { linesOf, partsOf } from './log-lines';
import { parseRoute, runLink, compareLink } from './route';
import { parseTable } from './table-text';

describe('lines of a log', () => {
  it('are the last states of progress bars', () => {
    expect(linesOf('a\n 1 %\r 2 %\r\nb\r\n\x1b[31m1\r\x1b[0m\n')).toEqual(['a', ' 2 %', 'b', '\x1b[31m1']);
    expect(linesOf('')).toEqual([]);
    expect(linesOf('\n\nx')).toEqual(['', '', 'x']);
  });

  it('have the colors of the sequences in them, and no other style', () => {
    expect(partsOf('<b>plain</b>')).toEqual([{ text: '<b>plain</b>', classes: '', color: null }]);
    expect(partsOf('\x1b[1;31mred\x1b[0m \x1b[38;5;208mone\x1b[38;2;1;2;3mtwo\x1b[m\x1b[97;44m&<x>')).toEqual([
      { text: 'red', classes: 'ansi-red ansi-bold', color: null },
      { text: ' ', classes: '', color: null },
      { text: 'one', classes: '', color: '255, 135, 0' },
      { text: 'two', classes: '', color: '1, 2, 3' },
      { text: '&<x>', classes: 'ansi-bright-white ansi-blue-bg', color: null },
    ]);
  });
});

describe('a table of text', () => {
  it('has its fields, quoted or not', () => {
    const text = 'a,b\r\n1,"x, ""y""\nz"\n\n,2\n3,\n"",';
    const rows = [
      ['a', 'b'],
      ['1', 'x, "y"\nz'],
      ['', '2'],
      ['3', ''],
      ['', ''],
    ];
    expect(parseTable(text, ',', 9)).toEqual({ rows, isCut: false });
    expect(parseTable('a\tb,c\n', '\t', 9).rows).toEqual([['a', 'b,c']]);
  });

  it('is cut where it is too long, or broken', () => {
    expect(parseTable('a\nb\nc\n', ',', 2)).toEqual({ rows: [['a'], ['b']], isCut: true });
    expect(parseTable('a\n"b', ',', 9)).toEqual({ rows: [['a']], isCut: true });
    expect(parseTable('a\n"b"c', ',', 9)).toEqual({ rows: [['a']], isCut: true });
  });
});

describe('the address of a page', () => {
  const run = '20260101-000000-model-abcdef';
  it('names what it shows, whatever a project is called', () => {
    for (const project of ['model', '@a/b c#?%', '<img>', 'é'])
      expect(parseRoute(runLink(project, run, 'log'))).toEqual({ page: 'run', project, run, tab: 'log' });
    const runs = [
      { project: 'a/b', run },
      { project: 'c', run },
    ];
    expect(parseRoute(compareLink(runs))).toEqual({ page: 'compare', runs });
  });

  it('shows the list where it names nothing', () => {
    for (const hash of ['', '#/', '#/run/model', '#/run/model/../x', '#/run/%/x', '#/javascript:x'])
      expect(parseRoute(hash)).toEqual({ page: 'runs' });
  });
});
