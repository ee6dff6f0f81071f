import fc from 'fast-check';
import { LiveBlock } from './live-block';
import { Screen } from './screen.fixture';

function terminal(columns: number, rows: number) {
  const screen = new Screen(columns);
  const stream = { columns, rows, write: (text: string) => (screen.write(text), true) };
  return { screen, stream, block: new LiveBlock(stream as never as NodeJS.WriteStream) };
}

describe('lines that are drawn in place', () => {
  it('replace those before, also where there are fewer', () => {
    const { screen, stream, block } = terminal(20, 10);
    stream.write('before\n');
    block.draw(['one', 'two', 'three']);
    block.draw(['1', '', 'drei und mehr als zwanzig']);
    expect(screen.text).toEqual(['before', '1', '', 'drei und mehr als zw', '']);
    block.draw(['last']);
    expect(screen.text).toEqual(['before', 'last', '']);
  });

  it('stay where something else is printed, and are drawn anew below it', () => {
    const { screen, stream, block } = terminal(20, 10);
    block.draw(['a']);
    block.release();
    stream.write('said\n');
    block.draw(['b']);
    block.draw(['c']);
    expect(screen.text).toEqual(['a', 'said', 'c', '']);
    block.erase();
    stream.write('end\n');
    expect(screen.text).toEqual(['a', 'said', 'end', '']);
  });

  it('are drawn on a terminal that does not know its size', () => {
    const { stream, block, screen } = terminal(80, 24);
    Object.assign(stream, { columns: 0, rows: 0 });
    block.draw(['one', 'two']);
    block.draw(['three']);
    expect(screen.text).toEqual(['three', '']);
  });

  it('are never more than the terminal has rows', () => {
    const { screen, block } = terminal(20, 4);
    block.draw(['1', '2', '3', '4', '5']);
    block.draw(['a', 'b', 'c', 'd', 'e']);
    expect(screen.text).toEqual(['a', 'b', '… 3 more lines', '']);
  });

  it('leave the terminal as it was after each drawing, and nothing of an earlier one', () => {
    const lines = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', ' ', '▁'), maxLength: 30 }), { maxLength: 12 });
    fc.assert(
      fc.property(fc.array(lines, { minLength: 1, maxLength: 8 }), (drawings) => {
        const { screen, stream, block } = terminal(12, 8);
        stream.write('before\n');
        for (const drawing of drawings) block.draw(drawing);
        const last = drawings.at(-1)!;
        const shown = last.length > 7 ? [...last.slice(0, 6), `… ${last.length - 6} more lines`] : last;
        expect(screen.text).toEqual(['before', ...shown.map((line) => line.slice(0, 12).trimEnd()), '']);
        stream.write('x'.repeat(13));
        expect(screen.text.slice(-2)).toEqual(['x'.repeat(12), 'x']);
      }),
    );
  });
});
