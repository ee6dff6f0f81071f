import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

export interface ConfiguredEndpoint {
  file: string;
  url: string;
}

interface Section {
  file: string;
  kind: 'profile' | 'services' | 'sso-session';
  name: string;
  /** Also those of its subsections. */
  values: [key: string, value: string][];
}

/**
 * Each `endpoint_url` of the AWS configuration files that the SDK may take for a profile: its own, those of its `services`,
 * and those of the profiles that its credentials come from.
 * @param profile undefined: the one that the environment names.
 */
export function configuredEndpoints(profile: string | undefined, environment: NodeJS.ProcessEnv): ConfiguredEndpoint[] {
  const sections = configurationFiles(environment).flatMap(sectionsOf);
  const valuesOf = (found: Section[], key: string) =>
    found.flatMap(({ values }) => values.filter(([name]) => name === key).map(([, value]) => value));
  // A client that is given no profile takes the default one.
  const profiles = new Set([profile ?? environment.AWS_PROFILE ?? 'default', 'default']);
  const used: Section[] = [];
  for (const name of profiles) {
    const found = sections.filter((each) => each.kind === 'profile' && each.name === name);
    for (const source of valuesOf(found, 'source_profile')) profiles.add(source);
    const services = valuesOf(found, 'services');
    used.push(...found, ...sections.filter((each) => each.kind === 'services' && services.includes(each.name)));
  }
  return used.flatMap((section) => valuesOf([section], 'endpoint_url').map((url) => ({ file: section.file, url })));
}

function configurationFiles(environment: NodeJS.ProcessEnv): string[] {
  const { AWS_CONFIG_FILE: config, AWS_SHARED_CREDENTIALS_FILE: credentials, HOME, USERPROFILE } = environment;
  const directory = join(HOME || USERPROFILE || homedir(), '.aws');
  return [config || join(directory, 'config'), credentials || join(directory, 'credentials')];
}

/** As the SDK reads such a file; none where it can't be read. */
function sectionsOf(file: string): Section[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return [];
  }
  const sections: Section[] = [];
  for (const line of text.split(/\r?\n/)) {
    const content = line.split(/(^|\s)[;#]/)[0].trim();
    const [, kind = 'profile', , name] =
      /^\[\s*(?:(profile|services|sso-session)\s+)?(["']?)(.*?)\2\s*\]$/.exec(content) ?? [];
    const at = content.indexOf('=');
    if (name !== undefined) sections.push({ file, kind: kind as Section['kind'], name, values: [] });
    else if (at > 0) sections.at(-1)?.values.push([content.slice(0, at).trim(), content.slice(at + 1).trim()]);
  }
  return sections;
}
