import { PassThrough } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import fc from 'fast-check';
import { Reporter } from './reporter';

function stream(isTTY: boolean) {
  const pieces: string[] = [];
  const into = Object.assign(
    new PassThrough().on('data', (data: Buffer) => pieces.push(data.toString())),
    { isTTY, columns: 100 },
  );
  return { pieces, into: into as unknown as NodeJS.WriteStream };
}

function reporter(options: { tty?: boolean; plain?: boolean; json?: boolean; project?: string } = {}) {
  const stdout = stream(options.tty ?? false);
  const stderr = stream(options.tty ?? false);
  const clock = { now: 0 };
  const it = new Reporter({ ...options, stdout: stdout.into, stderr: stderr.into, now: () => clock.now });
  return { pieces: stdout.pieces, errors: stderr.pieces, clock, reporter: it };
}

describe('Reporter', () => {
  it('prints a log line by line, however it arrives, and loses nothing', () => {
    const log = fc.array(fc.stringMatching(/^[a-z0-9 ]{0,30}$/), { minLength: 1 }).map((lines) => lines.join('\n'));
    fc.assert(
      fc.property(log, fc.array(fc.nat(20)), (text, cuts) => {
        const { pieces, reporter: it } = reporter();
        let from = 0;
        for (const cut of cuts) it.log(Buffer.from(text.slice(from, (from += cut))));
        it.log(Buffer.from(text.slice(from)));
        expect(pieces.every((piece) => piece.endsWith('\n'))).toBe(true);
        it.line('end');
        const end = text === '' || text.endsWith('\n') ? '' : '\n';
        expect(pieces.join('')).toBe(`${text}${end}end\n`);
      }),
    );
  });

  it('prints the last line of a log that has no end, and what was cut within a character', () => {
    for (const tty of [true, false]) {
      const { pieces, reporter: it } = reporter({ tty });
      it.log(Buffer.from('one\ntwo'));
      it.log(Buffer.from('é').subarray(0, 1));
      it.endLog();
      it.endLog();
      expect(pieces.join('')).toBe('one\ntwo\ufffd\n');
    }
  });

  it('does not keep a line back that never ends', () => {
    const { pieces, reporter: it } = reporter();
    it.log(Buffer.alloc(20_000, 'x'));
    expect(pieces.join('')).toHaveLength(20_000);
  });

  it.each([
    ['digits', 'Start it: nx run digits:remote-up\n'],
    ["$&$'", "Start it: nx run $&$':remote-up\n"],
    [undefined, 'Start it: nx run <project>:remote-up\n'],
  ])('names the project %s in commands', (project, expected) => {
    const { pieces, reporter: it } = reporter({ project });
    it.line('Start it: nx run <project>:remote-up');
    expect(pieces.join('')).toBe(expected);
  });

  it.each([true, false])('knows whether Nx gave it a pseudo-terminal: %s', (tty) => {
    expect(reporter({ tty }).reporter.isPseudoTerminal).toBe(tty);
  });

  it('prints nothing more once it is silent', () => {
    const { pieces, reporter: it } = reporter();
    it.silence();
    it.log(Buffer.from('late\n'));
    it.line('late');
    expect(pieces).toEqual([]);
  });

  describe('colours', () => {
    const before = { ...process.env };
    afterEach(() => {
      process.env = { ...before };
    });

    it.each([
      ['a terminal', { tty: true }, {}, true],
      ['no terminal', {}, {}, false],
      ['no terminal, where they are asked for', {}, { FORCE_COLOR: 'true' }, true],
      ['a terminal, where they are not wanted', { tty: true }, { FORCE_COLOR: '0' }, false],
      ['NO_COLOR, whatever FORCE_COLOR says', { tty: true }, { NO_COLOR: '1', FORCE_COLOR: 'true' }, false],
    ])('on %s', (_name, options, environment, coloured) => {
      const { NO_COLOR: _no, FORCE_COLOR: _force, ...rest } = before;
      process.env = { ...rest, ...environment };
      const { pieces, reporter: it } = reporter(options);
      it.warn(it.strong('x'));
      expect(pieces.join('').includes('\x1b[')).toBe(coloured);
      expect(stripVTControlCharacters(pieces.join(''))).toBe('warning: x\n');
    });
  });

  it('prints one line for machines on stdout with --json, and all else on stderr', () => {
    const { pieces, errors, reporter: it } = reporter({ json: true });
    it.line('for people');
    it.log(Buffer.from('log\n{"a":1}\nhalf'));
    it.warn('careful');
    it.result({ success: true, text: 'a\nb' });
    expect(pieces.join('')).toBe('{"success":true,"text":"a\\nb"}\n');
    expect(stripVTControlCharacters(errors.join(''))).toBe('for people\nlog\n{"a":1}\nhalf\nwarning: careful\n');
  });

  it('prints no line for machines without --json', () => {
    const { pieces, reporter: it } = reporter();
    it.result({ success: true });
    expect(pieces).toEqual([]);
  });

  const MB = 1024 * 1024;
  const drawn = (options: { tty?: boolean; plain?: boolean }) => {
    const { pieces, clock, reporter: it } = reporter(options);
    const progress = it.progress('Uploading', 100 * MB);
    for (let tenth = 0; tenth <= 100; tenth++) {
      clock.now = tenth * 100;
      progress.update(tenth * MB);
    }
    progress.end();
    return pieces.join('');
  };

  it('draws progress in place on a terminal: bar, size, rate, time left', () => {
    const text = drawn({ tty: true });
    expect(text).not.toMatch(/\n./);
    expect(stripVTControlCharacters(text)).toMatch(/Uploading .*\d+% [\d.]+ MB of 100 MB, 10 MB\/s, [\d.]+ s left/);
  });

  it.each([
    ['where there is no terminal', {}],
    ['for a target that is replayed from the cache', { tty: true, plain: true }],
  ])('prints a plain line each 10 % %s', (_name, options) => {
    const lines = drawn(options).trimEnd().split('\n');
    expect(lines).toHaveLength(10);
    expect(lines[4]).toBe('Uploading: 50 MB of 100 MB (50 %), 10 MB/s, 5.0 s left');
    expect(lines.join('')).not.toMatch(/[\r\x1b]/);
  });

  it('draws nothing for what is done within a second', () => {
    const { pieces, clock, reporter: it } = reporter({ tty: true });
    const progress = it.progress('Uploading', MB);
    clock.now = 900;
    progress.update(MB);
    progress.end();
    expect(pieces).toEqual([]);
  });
});
