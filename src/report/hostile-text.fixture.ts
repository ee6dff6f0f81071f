import fc from 'fast-check';

const PIECES = [
  ...[
    '\x1b[2J',
    '\x1b[31m',
    '\x1b]0;owned\x07',
    '\x1bPq\x1b\\',
    '\x1b',
    '\x9b2J',
    '\x9d0;x\x9c',
    '\x85',
    '\x00',
    '\x7f',
    '\b',
  ],
  ...[
    '\r',
    '\n',
    '\r\n',
    '\u2028',
    '\u202e',
    '\u2066',
    '\u200f',
    '\u200b',
    '\ufeff',
    '\u{e0041}',
    '\ufdd0',
    '\ufdd1',
    '\ufdd2',
  ],
  ...['::error::x', '\n::add-mask::x', '\r  ::stop-commands::x', ':', '::'],
  ...['##[command]x', '##vso[task.setvariable variable=x]y', "##teamcity[x 'y']", '#', '##', 'vso[', '['],
  ...['section_start:1:x\r\x1b[0K', 'section_end:', 'section_', 'start:'],
];

/** What somebody might write into a name, a message or a tag to reach a terminal or a CI service. */
export const hostileText = fc
  .array(fc.oneof(fc.constantFrom(...PIECES), fc.string({ unit: 'binary', maxLength: 5 })), {
    minLength: 1,
    maxLength: 8,
  })
  .map((pieces) => pieces.join(''));

/** Our own colors: bold, yellow, and their end. */
const OURS = /\x1b\[(1|33|0)m/g;

/** What of a printed text a terminal or a CI service would do something with; '' where all is well. */
export function dangers(printed: string): string {
  const text = printed.replace(OURS, '');
  const found = [
    /[\x00-\x08\x0b-\x1f\x7f-\x9f]/,
    /[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufdd0-\ufdef]/,
    /[\u{e0000}-\u{e0fff}]/u,
    /^\s*::/m,
    /##(\[|vso\[|teamcity\[)/,
    /section_(start|end):/,
  ].flatMap((pattern) => pattern.exec(text)?.[0] ?? []);
  return found.length ? JSON.stringify([found, printed]) : '';
}
