import { getProxyForUrl } from 'proxy-from-env';
import { assertAddress } from './address';
import { isLoopback } from './loopback';

/** The proxy by which a URL is asked for; empty where none is. Throws a `Problem` where what names it is no address. */
export function proxyFor(url: string): string {
  const proxy = isLoopback(url) ? '' : getProxyForUrl(url);
  if (proxy) assertAddress(variableOf(proxy), proxy);
  return proxy;
}

/** The variable that a proxy comes from; its scheme may be left out there. */
function variableOf(proxy: string): string {
  const names = Object.keys(process.env).filter((name) => /^(npm_config_)?((https?|all)_)?proxy$/i.test(name));
  return names.find((name) => process.env[name] && proxy.endsWith(process.env[name])) ?? 'HTTPS_PROXY';
}
