import fc from 'fast-check';
import { sanitizeForTerminal, printablePath, TerminalText } from './terminal-text';

function filter(...pieces: (string | Buffer)[]): string {
  const text = new TerminalText();
  return pieces.map((piece) => text.write(Buffer.from(piece))).join('') + text.end();
}

describe('TerminalText', () => {
  it('passes text, colors, CR, LF and tab', () => {
    const log = '\x1b[1;31mloss\x1b[0m\t0.5\r\nüñí 🎉\r 50 %\n';
    expect(filter(log)).toBe(log);
  });

  it.each([
    ['cursor up', 'a\x1b[2Ab', 'ab'],
    ['erase', 'a\x1b[2Jb', 'ab'],
    ['title', 'a\x1b]0;owned\x07b', 'ab'],
    ['title ended by ST', 'a\x1b]2;owned\x1b\\b', 'ab'],
    ['hyperlink', '\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\', 'link'],
    ['device control', 'a\x1bP$q"p\x1b\\b', 'ab'],
    ['private mode', 'a\x1b[?1049hb', 'ab'],
    ['status query', 'a\x1b[6nb', 'ab'],
    ['8-bit CSI', 'a\u009b2Jb', 'ab'],
    ['charset', 'a\x1b(0b', 'ab'],
    ['bell and backspace', 'a\x07\bb', 'ab'],
    ['an xterm "m" with a private marker', 'a\x1b[>4;1mb', 'ab'],
    ['an unfinished title does not swallow the next line', 'a\x1b]0;x\nb', 'a\nb'],
  ])('drops %s', (_name, log, expected) => {
    expect(filter(log)).toBe(expected);
  });

  it.each(['::set-output name=x::y', '  ::error::boom', '\x1b[1m::debug::x', 'a\r::warning::x', 'a\n\t::group::x'])(
    'breaks the workflow command in %j',
    (log) => {
      expect(filter(log)).not.toMatch(/(^|[\r\n])\s*(\x1b\[[\d;]*m)*\s*::/);
      expect(filter(log)).toContain(':\u200b:');
    },
  );

  it.each(['##[group]x', 'a ##vso[task.setvariable]x', "##teamcity[x 'y']"])('breaks %j', (log) => {
    expect(filter(log)).not.toMatch(/##(\[|vso|teamcity)/);
  });

  it('leaves :: within a line and ## headings alone', () => {
    expect(filter('std::vector\n## title\n#[x]')).toBe('std::vector\n## title\n#[x]');
  });

  it('gives the same text however the log is cut', () => {
    const part = fc.oneof(
      fc.constantFrom(
        '\x1b',
        '[',
        ']',
        '0',
        ';',
        'm',
        '\x07',
        '\\',
        ':',
        '::',
        '#',
        '##',
        'vso[',
        '\n',
        '\r',
        ' ',
        '\u009b',
        'é',
        '🎉',
        '\u0000',
      ),
      fc.string(),
    );
    fc.assert(
      fc.property(fc.array(part), fc.array(fc.nat(40)), (parts, cuts) => {
        const log = Buffer.from(parts.join(''));
        const pieces: Buffer[] = [];
        let from = 0;
        for (const cut of cuts) {
          pieces.push(log.subarray(from, from + cut));
          from += cut;
        }
        pieces.push(log.subarray(from));
        expect(filter(...pieces)).toBe(filter(log));
      }),
    );
  });

  it('never lets a control sequence but colors through, whatever bytes come', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const out = filter(Buffer.from(bytes)).replace(/\x1b\[[\d;:]*m/g, '');
        expect(out).not.toMatch(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/);
      }),
    );
  });
});

describe('printable', () => {
  it('keeps a name on one line', () => {
    expect(sanitizeForTerminal('a\nb\x1b[2Jc')).toBe('a\\nbc');
  });
});

describe('a path that is printed', () => {
  const unseen = fc.constantFrom(
    ...['\u200b', '\u00ad', '\u2060', '\ufe0f', '\u202e', '\u200d', '\u00a0', '\u3000', '\u2028', '\ud800'],
    ...['\x1b', '\r', '\n', '\0', '\x9b', '\u{e0041}'],
  );
  const seen = fc.stringMatching(/^[a-zA-Z0-9._é🎉 /-]{0,8}$/u);

  it('shows each character that is not seen, so that no other path looks like it', () => {
    fc.assert(
      fc.property(seen, unseen, seen, (before, char, after) => {
        const shown = printablePath(before + char + after);
        expect(shown).toMatch(/^[^\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]*$/u);
        expect(shown).not.toBe(printablePath(before + after));
        expect(sanitizeForTerminal(shown)).toBe(shown);
        expect(printablePath(before + after)).toBe(before + after);
      }),
    );
    expect(printablePath('.e\u200bnv')).toBe('.e\\u{200b}nv');
  });
});
