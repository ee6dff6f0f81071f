import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import { isOtherUser } from '../system/peer-user';

/** Whether a request's Host header is this machine's at a port. */
export type OwnHost = (request: IncomingMessage, port: number) => boolean;

/** On each answer: the page loads nothing from elsewhere, runs nothing but its own file, and is shown in no frame. */
export const SECURITY_HEADERS: OutgoingHttpHeaders = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' blob: data:",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; '),
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  'cache-control': 'no-store',
};

/**
 * Why a request is refused before its cookie is looked at: it comes from a page of another site or of another port, or
 * from a name that was rebound to this machine. undefined: it is from the page itself, or was typed.
 */
export function refuse(request: IncomingMessage, port: number, isOwnHost: OwnHost): string | undefined {
  const { method, url = '', headers } = request;
  // What opens the browser has the token among its arguments, which other users can read.
  if (isOtherUser(request.socket)) return 'it comes from another user of this machine';
  if (method !== 'GET') return 'only GET is answered';
  if (!url.startsWith('/') || url.startsWith('//')) return 'its address is not a path';
  if (!isOwnHost(request, port)) return 'its Host header names another host';
  if (headers.origin !== undefined && headers.origin !== `http://${headers.host}`) return 'its Origin is another one';
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'none' && site !== 'same-origin') return `it comes from another page (${site})`;
  return undefined;
}
