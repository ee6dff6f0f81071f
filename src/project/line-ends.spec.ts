import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assertUnixLineEndings } from './line-ends';

describe('a script with Windows line endings', () => {
  let root: string;
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'nx-ec2-lines-'));
    mkdirSync(join(root, 'model'));
    const files = {
      'crlf.sh': '#!/bin/bash\r\necho a\r\n',
      'lf.sh': '#!/bin/bash\necho a\n',
      'train.py': 'print()\r\n',
      'tool.py': '#!/usr/bin/env python3\r\n',
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(root, 'model', name), text);
  });
  afterAll(() => rmSync(root, { recursive: true }));

  const sent = new Set(['model/crlf.sh', 'model/lf.sh', 'model/train.py', 'model/tool.py']);
  const check = (command: string[], files = sent) => assertUnixLineEndings(root, 'model', command, files);

  it.each([
    [['./crlf.sh']],
    [['crlf.sh', '--x']],
    [['./tool.py']],
    [['bash', 'crlf.sh']],
    [['/bin/sh', '-eu', './crlf.sh', 'a']],
  ])('is refused for the command %j, and the message says how to convert it', (command) => {
    expect(() => check(command)).toThrow(/model\/\S+ has Windows line endings .*sed -i/s);
  });

  it.each([
    [['./lf.sh']],
    [['bash', 'lf.sh']],
    [['python', 'train.py']],
    [['python', 'tool.py']],
    [['bash', '-c', 'crlf.sh']],
    [['bash']],
    [[]],
  ])('is not found in %j', (command) => {
    expect(() => check(command)).not.toThrow();
  });

  it('is ignored if the file is not sent', () => {
    expect(() => check(['./crlf.sh'], new Set())).not.toThrow();
  });
});
