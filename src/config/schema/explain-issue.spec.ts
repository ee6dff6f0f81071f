import fc from 'fast-check';
import { withoutUrlSecrets } from './explain-issue';

describe('a text with URLs that a message shows', () => {
  it.each([
    ['https://user:pass@host/simple', 'https://…@host/simple'],
    ['https://user:p@ss@host/simple', 'https://…@host/simple'],
    ['https://token@host', 'https://…@host'],
    ['https://host/file?X-Amz-Signature=abc', 'https://host/file?…'],
    ['https://host/file#token', 'https://host/file?…'],
    ['["https://a:b@host", "s3://bucket/prefix"]', '["https://…@host", "s3://bucket/prefix"]'],
    ['git+ssh://git:secret@host/repo.git', 'git+ssh://…@host/repo.git'],
    ['user@host', 'user@host'],
  ])('shows %s as %s', (text, shown) => {
    expect(withoutUrlSecrets(text)).toBe(shown);
  });

  it('never contains a password or a signature', () => {
    const word = fc.string({ minLength: 6, maxLength: 20 }).filter((text) => /^[a-z0-9:%._~-]+$/i.test(text));
    fc.assert(
      fc.property(
        fc.array(fc.object({ maxDepth: 0 }), { maxLength: 2 }),
        fc.webUrl(),
        word,
        word,
        (around, url, password, signature) => {
          const secret = url.replace('://', `://user:SECRET${password}@`).concat(`?sig=SIGNED${signature}`);
          const shown = withoutUrlSecrets(JSON.stringify({ around, secret }));
          expect(shown).not.toContain('SECRET');
          expect(shown).not.toContain('SIGNED');
        },
      ),
    );
  });
});
