import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { Problem } from '../report/problem';
import { commandLine } from '../report/shell-words';

/** So many profiles are listed. */
const MAX_LISTED_PROFILES = 20;

/** The files of the AWS CLI and the SDKs, in which profiles are defined. */
function profileFiles(): string[] {
  const { AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE } = process.env;
  const directory = join(homedir(), '.aws');
  return [AWS_CONFIG_FILE || join(directory, 'config'), AWS_SHARED_CREDENTIALS_FILE || join(directory, 'credentials')];
}

/**
 * Explains missing credentials or a missing region by a profile that no file defines.
 * @param configured the profile of the configuration; undefined: that of `AWS_PROFILE`, if it is set.
 * @returns null where the profile exists, or none is named.
 */
export function unknownProfile(configured: string | undefined, cause: unknown): Problem | null {
  const profile = configured ?? process.env.AWS_PROFILE;
  if (!profile) return null;
  const files = profileFiles();
  const known = [...new Set(files.flatMap(profilesIn))];
  if (known.includes(profile)) return null;
  const named = configured === undefined ? 'AWS_PROFILE names it' : '"profile" names it';
  const more = known.length > MAX_LISTED_PROFILES ? ` and ${known.length - MAX_LISTED_PROFILES} more` : '';
  const rest = known.length
    ? `They have: ${known.slice(0, MAX_LISTED_PROFILES).join(', ')}${more}.`
    : 'They define no profile.';
  return new Problem('PROFILE_UNKNOWN', `There is no profile "${profile}" in ${files.join(' or ')} (${named}).`, {
    next: `${rest} To add it: ${commandLine('aws', 'configure', 'sso', '--profile', profile)}`,
    settings: ['profile'],
    cause,
  });
}

/** The profiles that a file defines; none where it can't be read. */
function profilesIn(file: string): string[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return [];
  }
  return text.split(/\r?\n/).flatMap((line) => {
    const section = /^\s*\[\s*([^\]]*?)\s*\]/.exec(line)?.[1];
    if (section === undefined || /^(sso-session|services)\s/.test(section)) return [];
    return [section.replace(/^profile\s+/, '').replace(/^(["'])(.*)\1$/, '$2')];
  });
}
