import fc from 'fast-check';
import { StoreFixture } from '../../store/store.fixture';
import { LaunchJournal, parseLaunch, type LaunchState } from './launch-journal';

const letters = (low: number, high: number, of: string) =>
  fc.string({ unit: fc.constantFrom(...of), minLength: low, maxLength: high });
const hex = (length: number) => letters(length, length, '0123456789abcdef');
const ms = fc.nat({ max: 2 ** 45 });
const word = letters(1, 80, 'abcXYZ019.-');
const tried = fc.record({
  type: word,
  subnet: word,
  zone: word,
  market: fc.constantFrom<'spot' | 'on-demand'>('spot', 'on-demand'),
});

const ids = fc.array(
  hex(17).map((id) => `i-${id}`),
  { maxLength: 4 },
);

const state: fc.Arbitrary<LaunchState> = fc.array(fc.tuple(tried, word), { maxLength: 20 }).chain((options) =>
  fc
    .record({
      generation: hex(16),
      at: ms,
      n: fc.nat(options.length),
      kept: ids,
      instances: ids,
    })
    .map((rest) => ({
      v: 2 as const,
      ...rest,
      launchOptions: options.map(([each]) => each),
      refused: options.slice(0, rest.n).map(([, code]) => code),
    })),
);

describe('the launch journal', () => {
  it('is read as it was written', () => {
    fc.assert(fc.property(state, (it) => expect(parseLaunch(Buffer.from(JSON.stringify(it)))).toEqual(it)));
  });

  it('is ignored if any field is not valid, and no bytes are an error', () => {
    fc.assert(fc.property(fc.uint8Array(), (bytes) => expect(parseLaunch(Buffer.from(bytes))).toBeNull()));
    fc.assert(
      fc.property(state, (it) => {
        const changed = [
          { ...it, generation: `${it.generation}0` },
          { ...it, n: it.launchOptions.length + 1 },
          { ...it, refused: [...it.refused, 'Code'] },
          { ...it, instances: ['i-1; reboot'] },
          { ...it, kept: ['i-1; reboot'] },
          { ...it, instances: null },
          {
            ...it,
            launchOptions: [...it.launchOptions, { type: 't3.micro', subnet: 's', zone: 'a b', market: 'spot' }],
          },
          { ...it, at: undefined },
          { ...it, v: 0 },
        ];
        for (const each of changed) expect(parseLaunch(Buffer.from(JSON.stringify(each)))).toBeNull();
      }),
    );
  });

  it('of an older client, which launched one instance, is read', () => {
    fc.assert(
      fc.property(state, ({ kept: _, instances, ...it }) => {
        const [instance = null] = instances;
        const read = { ...it, v: 2, kept: [], instances: instance === null ? [] : [instance] };
        expect(parseLaunch(Buffer.from(JSON.stringify({ ...it, v: 1, instance })))).toEqual(read);
        expect(parseLaunch(Buffer.from(JSON.stringify({ ...it, v: 1, instance: 'i-1; reboot' })))).toBeNull();
      }),
    );
  });

  it('of a later version is written over: whoever writes to the bucket must not block a launch or remote-down', () => {
    fc.assert(
      fc.property(state, fc.integer({ min: 3 }), (it, v) => {
        for (const value of [{ v }, { ...it, v }]) expect(parseLaunch(Buffer.from(JSON.stringify(value)))).toBeNull();
      }),
    );
  });

  it('counts as damaged if it is too large, and is overwritten', async () => {
    const at = await StoreFixture.start();
    try {
      const journal = new LaunchJournal(at.store, at.keys(), 'a'.repeat(24));
      await at.store.put(at.keys().launch('a'.repeat(24)), Buffer.alloc(600 * 1024, 0x20));
      const found = (await journal.read())!;
      expect(found.state).toBeNull();
      const [next] = fc.sample(state, 1);
      expect(await journal.write(next, found.etag)).not.toBeNull();
      expect((await journal.read())!.state).toEqual(next);
    } finally {
      await at.close();
    }
  });
});
