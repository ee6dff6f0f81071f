import { array, assert, constantFrom, property, string, stringMatching, tuple } from 'fast-check';
import { hideCredentials, withoutCredentials } from './url-credentials';

/** In no host, scheme or path below. */
const SECRET = 'S3CR3T';
const schemes = constantFrom('https://', 'http://', 'ssh://', 'git+ssh://', 'socks5h://', 'codecommit::eu-west-1://');
const hosts = constantFrom('git.example.com', '10.0.0.1:8443', '[fd00::1]', '[fd00::1]:22', 'localhost');
const paths = constantFrom('', '/', '/team/x.git', '/@scope/x', '/~me/x');
const names = stringMatching(/^[a-z%.+-]{0,8}$/);
/** Any text around a secret, as a user may have put it into a URL. */
const passwords = (allowed: RegExp) =>
  tuple(string({ unit: 'binary' }), string({ unit: 'binary' })).map(
    ([before, after]) => `${before.replace(allowed, '')}${SECRET}${after.replace(allowed, '')}`,
  );
const encoded = passwords(/$^/).map((password) => encodeURIComponent(password.replace(/[\ud800-\udfff]/g, '')));

describe('a URL without credentials', () => {
  it.each([
    ['https://bot:ghp@SECRETTAIL@git.example.com/x.git', 'https://git.example.com/x.git'],
    ['https://token@git.example.com/x.git', 'https://git.example.com/x.git'],
    ['https://bot:a%40b@git.example.com/x.git', 'https://git.example.com/x.git'],
    ['https://bot:pw%40git.example.com/x.git', 'https://git.example.com/x.git'],
    ['https://bot:a/b@git.example.com/x.git', 'https://git.example.com/x.git'],
    ['https://bot:a#b?c@git.example.com/x.git', 'https://git.example.com/x.git'],
    ['https://bot:a b@git.example.com/x.git', 'https://git.example.com/x.git'],
    ['https://git.example.com/x.git?access_token=abc#t', 'https://git.example.com/x.git'],
    ['ssh://git:pw@git.example.com:22/x', 'ssh://git.example.com:22/x'],
    ['bot:p@w@git.example.com:team/x', 'git.example.com:team/x'],
    ['bot:pw@proxy:8080', 'proxy:8080'],
    ['bot:pw@git.example.com/x', 'git.example.com/x'],
    ['me@corp.example:pw@git.example.com:x', 'git.example.com:x'],
    ['//bot:pw@host/simple', '//host/simple'],
    ['//bot:p/w@host/simple', '//host/simple'],
    ['https:/bot:pw@host/simple', 'https:/host/simple'],
    ['https:\\\\bot:pw@host/simple', 'https:\\\\host/simple'],
    ['\\\\bot:pw@host', '\\\\host'],
    ['ext::curl https://bot:pw@git.example.com/x', 'ext::curl https://git.example.com/x'],
  ])('%s', (url, expected) => expect(withoutCredentials(url)).toBe(expected));

  it.each([
    'git@git.example.com:team/x.git',
    '/srv/git@example/x',
    '//host/simple',
    'git@git.example.com:@scope/x',
    'https://git.example.com/@scope/x',
    'ssh://git.example.com:team/x',
    'https://[fd00::1]:8443/x',
    'file:///home/me@work/x',
    '/home/me@work/x',
    '../x',
    '',
  ])('is unchanged if it has none: %s', (url) => expect(withoutCredentials(url)).toBe(url));

  it('contains nothing of any name and password', () =>
    assert(
      property(schemes, names, passwords(/[/?#]/g), hosts, paths, (scheme, name, password, host, path) => {
        expect(withoutCredentials(`${scheme}${name}:${password}@${host}${path}`)).toBe(`${scheme}${host}${path}`);
        expect(withoutCredentials(`${scheme}${password}@${host}${path}`)).toBe(`${scheme}${host}${path}`);
      }),
    ));

  it('contains nothing of them if it has no scheme', () =>
    assert(
      property(names, passwords(/$^/), hosts, paths, (name, password, host, path) => {
        expect(withoutCredentials(`u${name}:${password}@${host}:${path}`)).not.toContain(SECRET);
      }),
    ));

  it('contains nothing of its query', () =>
    assert(
      property(schemes, hosts, paths, passwords(/$^/), (scheme, host, path, token) => {
        expect(withoutCredentials(`${scheme}${host}${path}?token=${token}`)).not.toContain(SECRET);
      }),
    ));

  it('does not change if it is cleaned again', () =>
    assert(
      property(schemes, names, encoded, hosts, paths, (scheme, name, password, host, path) => {
        const once = withoutCredentials(`${scheme}${name}:${password}@${host}${path}`);
        expect(withoutCredentials(once)).toBe(once);
      }),
    ));
});

describe('a text without credentials', () => {
  it('lacks the credentials of each URL in it, and nothing else', () =>
    assert(
      property(array(tuple(schemes, encoded, hosts, paths), { minLength: 1 }), (urls) => {
        const text = (login: (password: string) => string) =>
          urls.map(([scheme, password, host, path]) => `at ${scheme}${login(password)}${host}${path}`).join(', ');
        expect(hideCredentials(text((password) => `u:${password}@`))).toBe(text(() => ''));
      }),
    ));

  it.each([
    ['a=https://u:p@q@h/x,https://u:p@h/y', 'a=https://h/x,https://h/y'],
    ['failed ("https://h/x?sig=abc"): me@h', 'failed ("https://h/x"): me@h'],
    ['no URL: a://', 'no URL: a://'],
  ])('%s', (text, expected) => expect(hideCredentials(text)).toBe(expected));

  it('is made in linear time', () => {
    const began = process.cpuUsage().user;
    hideCredentials('a'.repeat(200_000) + '://' + '@a'.repeat(100_000));
    hideCredentials('a://'.repeat(50_000));
    expect(process.cpuUsage().user - began).toBeLessThan(5_000_000);
  });
});
