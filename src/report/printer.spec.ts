import { PassThrough } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import fc from 'fast-check';
import { outputFailure } from './output-stream';
import { Printer } from './printer';
import { Screen } from './screen.fixture';
import { formatCount, formatNumber } from './units';

function stream(isTTY: boolean) {
  const pieces: string[] = [];
  const into = Object.assign(
    new PassThrough().on('data', (data: Buffer) => pieces.push(data.toString())),
    { isTTY, columns: 100 },
  );
  return { pieces, into: into as unknown as NodeJS.WriteStream };
}

function printer(options: { tty?: boolean; plain?: boolean; json?: boolean; project?: string } = {}) {
  const stdout = stream(options.tty ?? false);
  const stderr = stream(options.tty ?? false);
  const clock = { now: 0 };
  const it = new Printer({ ...options, stdout: stdout.into, stderr: stderr.into, now: () => clock.now });
  return { pieces: stdout.pieces, errors: stderr.pieces, clock, printer: it };
}

describe('Printer', () => {
  it('prints a log line by line, however it arrives, and loses nothing', () => {
    const log = fc.array(fc.stringMatching(/^[a-z0-9 ]{0,30}$/), { minLength: 1 }).map((lines) => lines.join('\n'));
    fc.assert(
      fc.property(log, fc.array(fc.nat(20)), (text, cuts) => {
        const { pieces, printer: it } = printer();
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
      const { pieces, printer: it } = printer({ tty });
      it.log(Buffer.from('one\ntwo'));
      it.log(Buffer.from('é').subarray(0, 1));
      it.endLog();
      it.endLog();
      expect(pieces.join('')).toBe('one\ntwo\ufffd\n');
    }
  });

  it('listens once to a stream, however many printers of a process write to it, and stops when the stream fails', () => {
    const { into, pieces } = stream(false);
    const before = into.listenerCount('error');
    const all = Array.from({ length: 12 }, () => new Printer({ stdout: into }));
    expect(into.listenerCount('error')).toBe(before + 1);
    all[0].line('one');
    into.emit('error', Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
    for (const each of [...all, new Printer({ stdout: into })]) each.line('two');
    expect(pieces.join('')).toBe('one\n');
  });

  it('prints a line that never ends', () => {
    const { pieces, printer: it } = printer();
    it.log(Buffer.alloc(20_000, 'x'));
    expect(pieces.join('')).toHaveLength(20_000);
  });

  it.each([
    ['digits', 'Start it: nx run digits:remote-up\n'],
    ["$&$'", "Start it: nx run '$&$'\\''':remote-up\n"],
    [undefined, 'Start it: nx run <project>:remote-up\n'],
  ])('names the project %s in commands', (project, expected) => {
    const { pieces, printer: it } = printer({ project });
    it.line('Start it: nx run <project>:remote-up');
    expect(pieces.join('')).toBe(expected);
  });

  it.each([true, false])('knows whether Nx gave it a pseudo-terminal: %s', (tty) => {
    expect(printer({ tty }).printer.isPseudoTerminal).toBe(tty);
  });

  it('prints nothing more once it is silent', () => {
    const { pieces, printer: it } = printer();
    it.silence();
    it.log(Buffer.from('late\n'));
    it.line('late');
    expect(pieces).toEqual([]);
  });

  describe('colors', () => {
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
    ])('on %s', (_name, options, environment, colored) => {
      const { NO_COLOR: _no, FORCE_COLOR: _force, ...rest } = before;
      process.env = { ...rest, ...environment };
      const { pieces, printer: it } = printer(options);
      it.warn(it.strong('x'));
      expect(pieces.join('').includes('\x1b[')).toBe(colored);
      expect(stripVTControlCharacters(pieces.join(''))).toBe('warning: x\n');
    });
  });

  it('remembers why output was lost, but not that its reader has left', () => {
    const fails = (code: string) => {
      const into = new PassThrough() as unknown as NodeJS.WriteStream;
      new Printer({ stdout: into });
      into.emit('error', Object.assign(new Error(`${code}: write`), { code }));
    };
    for (const code of ['EPIPE', 'EIO']) fails(code);
    expect(outputFailure()).toBeNull();
    fails('ENOSPC');
    fails('EDQUOT');
    expect(outputFailure()).toMatchObject({ code: 'ENOSPC' });
  });

  it('prints one line for machines on stdout with --json, and all else on stderr', () => {
    const { pieces, errors, printer: it } = printer({ json: true });
    it.line('for people');
    it.log(Buffer.from('log\n{"a":1}\nhalf'));
    it.warn('careful');
    it.result({ success: true, text: 'a\nb' });
    expect(pieces.join('')).toBe('{"success":true,"text":"a\\nb"}\n');
    expect(stripVTControlCharacters(errors.join(''))).toBe('for people\nlog\n{"a":1}\nhalf\nwarning: careful\n');
  });

  it('prints no line for machines without --json', () => {
    const { pieces, printer: it } = printer();
    it.result({ success: true });
    expect(pieces).toEqual([]);
  });

  const MB = 1024 * 1024;
  const drawn = (options: { tty?: boolean; plain?: boolean }) => {
    const { pieces, clock, printer: it } = printer(options);
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

  it.each([
    ['bytes', undefined],
    ['runs', (amount: number) => formatCount(amount, 'run')],
    ['numbers', formatNumber],
  ])('prints short numbers of %s, however fast it is', (_name, format) => {
    const amount = String.raw`(\d{1,4}(\.\d{1,2})?|\d{1,3}(,\d{3})+)( [a-zA-Z]+)?`;
    const left = String.raw`(unknown time|\d{1,2}(\.\d)? s|\d{1,2}[mhd] \d\d[smh])`;
    const percent = String.raw`\((100|\d?0) %\)`;
    const line = new RegExp(`^Reading: ${amount} of ${amount} ${percent}, ${amount}/s, ${left} left\n$`);
    fc.assert(
      fc.property(fc.nat(1e12), fc.nat(1e12), fc.integer({ min: 5_000, max: 1e9 }), (done, total, now) => {
        const { pieces, clock, printer: it } = printer();
        const progress = it.progress('Reading', total, format);
        clock.now = now;
        progress.update(done);
        progress.end();
        expect(pieces.join('')).toMatch(line);
      }),
      {
        examples: [
          [1, 1, 5_347],
          [1, 3, 1e9],
          [0, 5, 5_000],
        ],
      },
    );
  });

  it('draws nothing for what is done within a second', () => {
    const { pieces, clock, printer: it } = printer({ tty: true });
    const progress = it.progress('Uploading', MB);
    clock.now = 900;
    progress.update(MB);
    progress.end();
    expect(pieces).toEqual([]);
  });

  describe('beside progress in place', () => {
    const words = 'Interrupted. The tree on the instance is complete. Run the same command to continue.';
    const wrapped = [words.slice(0, 40), words.slice(40, 80), words.slice(80)];
    const beginUpload = () => {
      const { pieces, clock, printer: it } = printer({ tty: true });
      const progress = it.progress('Uploading', 100 * MB);
      const screen = new Screen(40);
      const show = () => {
        screen.write(pieces.splice(0).join(''));
        return screen.text;
      };
      const move = (to: number) => {
        clock.now += 1_000;
        progress.update(to * MB);
        return show();
      };
      return { it, progress, show, move, screen };
    };

    it('a message at Ctrl+C is printed whole, and the progress of an upload does not draw over it', () => {
      const { it: printer, progress, show, move, screen } = beginUpload();
      move(10);
      expect(move(20)[0]).toMatch(/^Uploading =/);
      screen.write('^C');
      printer.answer(undefined, words);
      move(30);
      move(40);
      progress.end();
      printer.silence();
      // What the shell prints next.
      show();
      screen.write('$ ');
      expect(screen.text).toEqual(['', ...wrapped, '$']);
    });

    it('a message and a log are whole, and the progress is drawn again below them', () => {
      const { it: printer, progress, show, move } = beginUpload();
      move(20);
      printer.warn(words);
      const rows = [`warning: ${words}`.slice(0, 40), `warning: ${words}`.slice(40, 80), `warning: ${words}`.slice(80)];
      expect(show()).toEqual([...rows, '']);
      expect(move(30)).toEqual([...rows, expect.stringMatching(/^Uploading =/)]);
      printer.log(Buffer.from('step 1\n'));
      expect(show()).toEqual([...rows, 'step 1', '']);
      expect(move(40)).toEqual([...rows, 'step 1', expect.stringMatching(/^Uploading =/)]);
      progress.end();
      expect(show()).toEqual([...rows, 'step 1', '']);
    });

    it('another progress takes its place', () => {
      const { it: printer, progress, show, move } = beginUpload();
      move(20);
      const other = printer.progress('Fetching', MB);
      expect(move(30)).toEqual([expect.stringMatching(/^Uploading =/)]);
      other.update(MB / 2);
      expect(show()).toEqual([expect.stringMatching(/^Fetching =/)]);
      progress.end();
      expect(show()).toEqual([expect.stringMatching(/^Fetching =/)]);
      other.end();
      expect(show()).toEqual(['']);
    });
  });
});
