import { createHmac, randomBytes } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import { seal, unseal } from './message-signature';

describe('the signature of a watch message', () => {
  const by = { watchId: '0123456789abcdef', key: randomBytes(32) };
  const message = { v: 1, n: 3, ok: true };
  const sealed = seal(by, 'ack', 3, message);

  it('is accepted if it was made with the key', () => {
    expect(unseal(by, 'ack', 3, sealed)).toEqual(message);
  });

  it('is the HMAC of its kind, watch id, number and body, as docs/reference/formats.md has it', () => {
    const body = deflateSync(JSON.stringify(message));
    const code = createHmac('sha256', by.key).update('ack 0123456789abcdef 3\n').update(body).digest();
    expect(sealed).toEqual(Buffer.concat([code, body]));
  });

  it.each<[string, unknown]>([
    ['another number', unseal(by, 'ack', 4, sealed)],
    ['another kind', unseal(by, 'edit', 3, sealed)],
    ['another watch', unseal({ ...by, watchId: '0123456789abcdee' }, 'ack', 3, sealed)],
    ['another key', unseal({ ...by, key: randomBytes(32) }, 'ack', 3, sealed)],
    ['nothing', unseal(by, 'ack', 3, Buffer.alloc(0))],
    ['zeros', unseal(by, 'ack', 3, Buffer.alloc(64))],
  ])('is refused for a message of %s', (_name, read) => {
    expect(read).toBeNull();
  });

  it('is refused if any byte was changed', () => {
    for (let at = 0; at < sealed.length; at++) {
      const changed = Buffer.from(sealed);
      changed[at] ^= 1;
      expect(unseal(by, 'ack', 3, changed)).toBeNull();
    }
  });
});
