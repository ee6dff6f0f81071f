import { Problem } from '../../report/problem';

/** What cloud-init tells a part's type by: how it begins (its `INCLUSION_TYPES_MAP`). Longer ones first. */
const TYPES: [begins: string, type: string][] = [
  ['#cloud-config-archive', 'text/cloud-config-archive'],
  ['#cloud-config-jsonp', 'text/cloud-config-jsonp'],
  ['#cloud-config', 'text/cloud-config'],
  ['#cloud-boothook', 'text/cloud-boothook'],
  ['#include-once', 'text/x-include-once-url'],
  ['#include', 'text/x-include-url'],
  ['#part-handler', 'text/part-handler'],
  ['## template: jinja', 'text/jinja2'],
  ['#!', 'text/x-shellscript'],
];

/** No line of a quoted-printable text can hold it: there, `=` comes before two hex digits or at the end. */
const BOUNDARY = '=_nx-ec2_=';
/** RFC 5322's longest line. */
const MAX_LINE_LENGTH = 998;

/** @throws Problem where it is none that cloud-init knows. */
export function ownType(text: string): string {
  const found = TYPES.find(([begins]) => text.startsWith(begins));
  if (found) return found[1];
  throw new Problem('USER_DATA_TYPE', 'The first line of "instance.userData" is not one that cloud-init recognizes.', {
    next: 'Begin it with #! and an interpreter (#!/bin/sh), or with #cloud-config.',
  });
}

/** A multipart message of texts, in ASCII, lines ending in LF. Each text comes out byte by byte as it went in. */
export function mimeMessage(parts: { type: string; text: string }[]): Buffer {
  const written = parts.map(({ type, text }) => {
    const [encoding, content] = isPlain(text) ? ['7bit', text] : ['quoted-printable', quotedPrintable(text)];
    return `--${BOUNDARY}\nContent-Type: ${type}; charset="utf-8"\nContent-Transfer-Encoding: ${encoding}\n\n${content}\n`;
  });
  const head = `MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="${BOUNDARY}"\n\n`;
  return Buffer.from(`${head}${written.join('')}--${BOUNDARY}--\n`, 'latin1');
}

function isPlain(text: string): boolean {
  if (!/^[\t\n -~]*$/.test(text)) return false;
  return text.split('\n').every((line) => line.length <= MAX_LINE_LENGTH && !line.startsWith('--'));
}

/** RFC 2045, 6.7, with LF as it is: lines of at most 76 characters, longer ones broken. */
function quotedPrintable(text: string): string {
  return Buffer.from(text).toString('latin1').split('\n').map(quotedLine).join('\n');
}

function quotedLine(line: string): string {
  let written = '';
  let width = 0;
  for (const [at, char] of [...line].entries()) {
    const last = at === line.length - 1;
    const plain = /[!-<>-~]/.test(char) || (/[ \t]/.test(char) && !last);
    const piece = plain ? char : `=${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
    if (width + piece.length > (last ? 76 : 75)) {
      written += '=\n';
      width = 0;
    }
    written += piece;
    width += piece.length;
  }
  return written;
}
