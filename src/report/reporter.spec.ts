import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { Reporter } from './reporter';

function reporter() {
  const pieces: string[] = [];
  const stdout = new PassThrough().on('data', (data: Buffer) =>
    pieces.push(data.toString()),
  ) as unknown as NodeJS.WriteStream;
  return { pieces, reporter: new Reporter({ stdout }) };
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

  it('does not keep a line back that never ends', () => {
    const { pieces, reporter: it } = reporter();
    it.log(Buffer.alloc(20_000, 'x'));
    expect(pieces.join('')).toHaveLength(20_000);
  });

  it('prints nothing more once it is silent', () => {
    const { pieces, reporter: it } = reporter();
    it.silence();
    it.log(Buffer.from('late\n'));
    it.line('late');
    expect(pieces).toEqual([]);
  });
});
