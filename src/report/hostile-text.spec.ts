import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { dangers, hostileText } from './hostile-text.fixture';
import { Problem } from './problem';
import { Printer } from './printer';
import { sanitizeForTerminal, printableJson, printableLines, printableValue, sanitize } from './terminal-text';

describe('printable', () => {
  it('is safe, on one line, and the same when it is made so twice', () => {
    fc.assert(
      fc.property(hostileText, (text) => {
        const safe = sanitizeForTerminal(text);
        expect(dangers(safe)).toBe('');
        expect(safe).not.toContain('\n');
        expect(sanitizeForTerminal(safe)).toBe(safe);
      }),
    );
  });

  it('keeps what people write: letters of all scripts, emoji, paths, colons and hashes', () => {
    for (const text of [
      'naïve/ß.py',
      'نمی\u200cدانم',
      '👩\u200d🚀 ❤️',
      'std::vector',
      '## title',
      ':app:lib',
      's3://b/k#1',
    ])
      expect(sanitizeForTerminal(text)).toBe(text);
  });

  it('cuts what is too long', () => {
    expect(sanitizeForTerminal('x'.repeat(20_000))).toHaveLength(16_384);
    expect(sanitize('abcdef', 3)).toBe('ab…');
  });

  it('of several lines keeps them, each safe', () => {
    expect(printableLines('a\x1b[2J\r\n::error::b\n\tc')).toBe('a\n:\u200b:error::b\n\tc');
    fc.assert(fc.property(hostileText, (text) => expect(dangers(printableLines(text))).toBe('')));
  });

  it('of a value reaches every text in it, and changes nothing else', () => {
    fc.assert(
      fc.property(fc.dictionary(hostileText, fc.array(hostileText)), fc.jsonValue(), (texts, value) => {
        const walk = (each: unknown): string[] =>
          typeof each === 'string'
            ? [each]
            : typeof each === 'object' && each
              ? Object.entries(each).flat().flatMap(walk)
              : [];
        for (const each of walk(printableValue(texts))) expect(dangers(each)).toBe('');
        const safe = printableValue(value);
        expect(printableValue(safe)).toEqual(safe);
      }),
    );
    const plain = { a: [1, null, true, 'x'], b: { c: 2.5 } };
    expect(printableValue(plain)).toEqual(plain);
    for (const open of ['[', '{"a":']) {
      const deep = JSON.parse(`${open.repeat(100_000)}1${(open === '[' ? ']' : '}').repeat(100_000)}`) as unknown;
      expect(JSON.stringify(printableValue(deep))).toContain('"…"');
    }
  });
});

describe('printableJson', () => {
  it('is safe, one line, and parses to the same value', () => {
    const hostile = fc.oneof(fc.jsonValue(), hostileText, fc.dictionary(hostileText, hostileText));
    fc.assert(
      fc.property(hostile, (value) => {
        const json = printableJson({ value });
        expect(json).not.toMatch(/[^\x20-\x7e\xa0-\u{10ffff}]|##|[\u202a-\u202e\u2066-\u2069\u2028\u2029]/u);
        expect(json).toMatch(/^\{/);
        expect(JSON.parse(json)).toEqual(JSON.parse(JSON.stringify({ value })));
      }),
    );
  });
});

describe('a text that is passed to the printer', () => {
  const { env } = process;
  afterEach(() => (process.env = env));

  const printed = (options: { tty?: boolean; json?: boolean; verbose?: boolean }, work: (printer: Printer) => void) => {
    const pieces: string[] = [];
    const stream = () =>
      Object.assign(
        new PassThrough().on('data', (data: Buffer) => pieces.push(data.toString())),
        { isTTY: options.tty ?? false, columns: 80 },
      ) as unknown as NodeJS.WriteStream;
    let now = 0;
    work(new Printer({ ...options, stdout: stream(), stderr: stream(), now: () => (now += 2_000) }));
    return pieces.join('');
  };

  const uses: [string, (printer: Printer, text: string) => void][] = [
    ['line', (printer, text) => printer.line(`${text} ${text}`)],
    ['warning', (printer, text) => printer.warn(text)],
    ['detail', (printer, text) => printer.detail(text)],
    ['answer to a signal', (printer, text) => printer.answer('SIGTERM', text)],
    ['text that is made strong', (printer, text) => printer.line(`${printer.strong(text)}: ${text}`)],
    [
      'error',
      (printer, text) =>
        printer.line(
          `${printer.strong('error:')} ${new Problem('INTERNAL', text, { aws: { code: text, message: text }, next: text }).message}`,
        ),
    ],
    ['label of progress', (printer, text) => printer.progress(text, 100).update(50)],
    ['result', (printer, text) => printer.result({ [text]: text })],
  ];
  describe.each(uses)('as a %s', (name, use) => {
    it.each([
      ['in color', { FORCE_COLOR: '1' }],
      ['without color', { NO_COLOR: '1' }],
    ])('is safe to print, %s', (_how, color) => {
      process.env = { ...env, NO_COLOR: undefined, ...color };
      if (!process.env.NO_COLOR) delete process.env.NO_COLOR;
      fc.assert(
        fc.property(hostileText, (text) => {
          const json = name === 'result';
          const out = printed({ json, verbose: true }, (printer) => use(printer, text));
          expect(out).not.toBe('');
          // A result may name a section of GitLab's: without the escape sequence after it, it is none.
          expect(dangers(json ? out.replaceAll('section_', '') : out)).toBe('');
          if ('NO_COLOR' in color) expect(out).not.toContain('\x1b');
          else
            expect(out.lastIndexOf('\x1b[0m')).toBeGreaterThanOrEqual(
              Math.max(out.lastIndexOf('\x1b[1m'), out.lastIndexOf('\x1b[33m')),
            );
        }),
      );
    });
  });

  it('as a log keeps its colors and carriage returns, and nothing else', () => {
    fc.assert(
      fc.property(hostileText, (text) => {
        const out = printed({}, (printer) => printer.log(Buffer.from(`${text}\n`)));
        expect(out.replace(/\x1b\[[\d;:]*m/g, '')).not.toMatch(
          /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/,
        );
        expect(out).not.toMatch(/(^|[\r\n])\s*::|##(\[|vso\[|teamcity\[)|section_(start|end):/);
      }),
    );
    expect(printed({}, (printer) => printer.log(Buffer.from('\x1b[32mok\x1b[0m 5 %\r10 %\n')))).toBe(
      '\x1b[32mok\x1b[0m 5 %\r10 %\n',
    );
  });
});
