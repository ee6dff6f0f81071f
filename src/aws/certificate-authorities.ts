import { rootCertificates } from 'node:tls';
import { readFileSync } from 'node:fs';
import { Problem } from '../report/problem';

/**
 * Node's own authorities and those of `AWS_CA_BUNDLE`, which the SDK for JavaScript does not read by itself.
 * Undefined where Node's default holds (which includes `NODE_EXTRA_CA_CERTS`).
 */
export function certificateAuthorities(): string[] | undefined {
  const bundle = process.env.AWS_CA_BUNDLE;
  if (!bundle) return undefined;
  const extra = process.env.NODE_EXTRA_CA_CERTS;
  return [
    ...rootCertificates,
    readBundle(bundle, 'AWS_CA_BUNDLE'),
    ...(extra ? [readBundle(extra, 'NODE_EXTRA_CA_CERTS')] : []),
  ];
}

function readBundle(path: string, variable: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new Problem('CA_BUNDLE', `${variable} names ${path}, which can't be read: ${(cause as Error).message}`, {
      next: `Point ${variable} to a PEM file, or unset it.`,
      cause,
    });
  }
}
