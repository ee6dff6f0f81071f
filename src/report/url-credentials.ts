/**
 * The scheme of a URL, behind the helper that git may have before it (`codecommit::eu-central-1://profile@repository`).
 * Without one, or with another number of slashes, it is no valid URL, but may have credentials all the same.
 */
const SCHEME = /^(?:(?:[a-z0-9][a-z0-9-]*::)?[a-z][a-z0-9+.-]*:\/\/|(?:(?:https?|ssh|git|ftp):)[/\\]+|[/\\]{2,})/i;
/** A URL in a text, up to the next one: lists of URLs are divided by commas as well as by blanks. */
const URL_IN_TEXT = /[a-z][a-z0-9+.-]{0,30}:\/\/(?:(?![a-z][a-z0-9+.-]{0,30}:\/\/)\S)+/gi;
const QUERY_IN_TEXT = /[?#][^\s"'<>()]*/;
const HOST_AND_PORT = /^(?:\[[^\]]*\]|[^:]*)(?::\d*)?$/;
/** `name:password@host:path`, as scp would write it, and `name:password@host/path`. Without a password it is git's usual form. */
const WITHOUT_SCHEME = [/^[^/:]+:[^]*@((?:[^@:/]+|\[[^\]]*\]):[^]*)$/, /^[^/:@]+:[^/]*@([^@/]+(?:\/[^]*)?)$/];

/** A URL without a name, a password, a query and a fragment, each of which may be a token. `git@host:path` stays as it is. */
export function withoutCredentials(url: string): string {
  const scheme = SCHEME.exec(url)?.[0];
  if (scheme) return scheme + withoutLogin(url.slice(scheme.length)).replace(/[?#][^]*$/, '');
  for (const form of WITHOUT_SCHEME) {
    const rest = form.exec(url)?.[1];
    if (rest !== undefined) return rest;
  }
  return hideCredentials(url);
}

/** A text with each URL in it as `withoutCredentials` has it. */
export function hideCredentials(text: string): string {
  return text.replace(URL_IN_TEXT, (url) => {
    const [scheme] = SCHEME.exec(url)!;
    return scheme + withoutLogin(url.slice(scheme.length)).replace(QUERY_IN_TEXT, '');
  });
}

/**
 * What follows the last "@" of the authority: a password may hold one that nobody has percent-encoded. One that holds "/",
 * "?" or "#" leaves something that is no host with a port: then all up to the last "@" goes.
 */
function withoutLogin(rest: string): string {
  const [authority] = /^[^/?#]*/.exec(rest)!;
  const host = afterLast(authority);
  if (!HOST_AND_PORT.test(host)) return afterLast(rest);
  return host + rest.slice(authority.length);
}

function afterLast(text: string): string {
  return text.replace(/^[^]*(?:@|%40)/, '');
}
