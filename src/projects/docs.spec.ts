import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, normalize } from 'node:path';
import { resolveConfiguration } from '../config/configuration';
import { policySchema } from '../config/policy-schema';
import { blocksOf, isMarkedNotRun, pages, ROOT, teachingPages, type Block } from './docs.fixture';

/** Pages that promise three settings at most. */
const SHORT = ['frameworks.md', 'python-environments.md', 'train-a-script.md'];

const blocks = teachingPages().flatMap(blocksOf);
const configurations = blocks.filter(({ language, mark }) => language === 'json' && mark !== 'policy');
const commands = blocks.filter(({ language }) => language === 'sh');
const at = ({ page, line, ...block }: Block): [string, Block] => [`${page}:${line}`, { page, line, ...block }];

/** As GitHub makes the anchor of a heading. */
function anchorOf(heading: string): string {
  return heading
    .replace(/`|\*\*|\[([^\]]*)\]\([^)]*\)/g, '$1')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replaceAll(' ', '-');
}

function linksOf(page: string): string[] {
  const prose = readFileSync(join(ROOT, page), 'utf8')
    .replace(/^```[^]*?^```$/gm, '')
    .replace(/`[^`\n]*`/g, '');
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1]);
}

/** Why a link leads nowhere; null: it leads somewhere, or out of the repository. */
function brokenLink(page: string, link: string): string | null {
  if (/^[a-z]+:/.test(link)) return null;
  const [path, anchor] = link.split('#');
  const target = path === '' ? page : normalize(join(dirname(page), path));
  if (!existsSync(join(ROOT, target))) return `${link}: there is no ${target}`;
  if (anchor === undefined || statSync(join(ROOT, target)).isDirectory()) return null;
  const headings = [...readFileSync(join(ROOT, target), 'utf8').matchAll(/^#+ (.+)$/gm)].map((each) => each[1]);
  return headings.map(anchorOf).includes(anchor) ? null : `${link}: ${target} has no such heading`;
}

/** A table or a list that prettier leaves alone since it can't see that it is one. */
function brokenTable(page: string): string[] {
  const lines = readFileSync(join(ROOT, page), 'utf8')
    .replace(/^```[^]*?^```$/gm, (block) => block.replace(/[^\n]/g, ''))
    .split('\n');
  const isRow = (line: string | undefined) => line !== undefined && /^\|.*\|$/.test(line);
  return lines.flatMap((line, index) => {
    const startsTable = isRow(line) && !isRow(lines[index - 1]);
    return startsTable && !/^\|[\s:|-]+\|$/.test(lines[index + 1] ?? '') ? [`${page}:${index + 1}`] : [];
  });
}

describe('a page of the documentation', () => {
  it.each(pages())('%s has no broken link', (page) => {
    expect(linksOf(page).flatMap((link) => brokenLink(page, link) ?? [])).toEqual([]);
  });

  it.each(pages())('%s has no row of a table without its head', (page) => {
    expect(brokenTable(page)).toEqual([]);
  });

  it.each(teachingPages())('%s is linked from the README', (page) => {
    expect(linksOf('README.md')).toContain(page);
  });
});

describe('a comment', () => {
  const sources = ['src', 'bench', 'e2e', 'scripts'].flatMap((directory) =>
    readdirSync(join(ROOT, directory), { recursive: true, encoding: 'utf8' })
      .filter((path) => /\.(ts|py|mjs)$/.test(path))
      .map((path) => join(directory, path)),
  );
  const citations = sources.flatMap((source) => {
    // A citation may go over the end of a line.
    const text = readFileSync(join(ROOT, source), 'utf8').replace(/\n\s*(\*|#|\/\/)?\s*/g, ' ');
    return [...text.matchAll(/(docs\/[\w/-]+\.md), "([^"]+)"/g)].map(([, page, heading]) => ({
      source,
      page,
      heading,
    }));
  });

  it('that cites a page names a heading that it has', () => {
    const headings = (page: string) =>
      [...readFileSync(join(ROOT, page), 'utf8').matchAll(/^#+ (.+)$/gm)].map(([, text]) => text.replaceAll('`', ''));
    expect(citations.length).toBeGreaterThan(40);
    expect(citations.filter(({ page, heading }) => !headings(page).includes(heading))).toEqual([]);
  });
});

describe('a configuration in a tutorial or how-to', () => {
  it.each(configurations.map(at))('%s is valid', (_, { page, text }) => {
    const { $schema: __, ...values } = JSON.parse(text) as Record<string, object>;
    const configuration = resolveConfiguration({
      workspaceRoot: ROOT,
      projectName: 'model',
      projectRoot: 'docs',
      nxJson: {},
      target: 'remote-train',
      options: { bucket: 'bucket', instance: 'box', ...values },
      environment: {},
    });
    expect(configuration.train.script ?? configuration.train.command).toBeTruthy();
    const settings = Object.values(values).flatMap((section) => Object.keys(section));
    if (SHORT.some((short) => page.endsWith(`/${short}`))) expect(settings.length).toBeLessThanOrEqual(3);
  });

  it('is found on each page of projects', () => {
    expect(SHORT.filter((page) => !configurations.some((block) => block.page.endsWith(`/${page}`)))).toEqual([]);
  });
});

describe('a policy in a tutorial or how-to', () => {
  const policies = blocks.filter(({ mark }) => mark === 'policy');
  let directory: string;

  beforeAll(() => (directory = mkdtempSync(join(tmpdir(), 'nx-ec2-docs-'))));
  afterAll(() => rmSync(directory, { recursive: true }));

  it.each(policies.map(at))('%s names every key, allows what it names and nothing else', (_, { text }) => {
    expect(Object.keys(JSON.parse(text) as object).sort()).toEqual(Object.keys(policySchema.shape).sort());
    const file = join(directory, 'policy.json');
    writeFileSync(file, text);
    const configure = (bucket: string) =>
      resolveConfiguration({
        workspaceRoot: ROOT,
        projectName: 'model',
        projectRoot: 'docs',
        nxJson: {},
        target: 'remote-train',
        options: {
          bucket,
          prefix: 'team-a',
          region: 'eu-west-1',
          train: { script: 'train.py' },
          instance: { type: 't3.medium', instanceProfile: 'nx-ec2', ami: 'al2023' },
        },
        environment: { NX_EC2_POLICY: file },
      });
    expect(configure('acme-training').bucket).toBe('acme-training');
    expect(() => configure('other-bucket')).toThrow('does not allow "bucket": "other-bucket"');
  });

  it('is shown', () => {
    expect(policies).not.toEqual([]);
  });
});

describe('a command in a tutorial or how-to', () => {
  const lines = commands.flatMap(({ page, line, text }) =>
    text
      .replace(/\\\n/g, ' ')
      .split('\n')
      .filter((each) => each.trim())
      .map((each, index): [string, string] => [`${page}:${line + index + 1}`, each]),
  );
  const targets = lines.flatMap(([place, text]) => {
    const [, target, rest] = /nx (?:run [\w-]+:|affected -t )(remote-[\w-]+)(.*)/.exec(text) ?? [];
    return target === undefined ? [] : [[place, target, rest] as const];
  });

  it.each(targets)('%s gives %s options that it has', (_, target, rest) => {
    const file = join(ROOT, 'src/executors', target, 'schema.json');
    const { properties } = JSON.parse(readFileSync(file, 'utf8')) as { properties: object };
    const ofNx = ['outputStyle', 'base', 'head', 'no-follow'];
    const given = [
      ...rest
        .split(/ [|>2]/)[0]
        .replace(/"[^"]*"|'[^']*'/g, '')
        .matchAll(/ --([\w-]+)/g),
    ];
    const names = given.map((match) => match[1]);
    expect(names.filter((name) => !ofNx.includes(name) && !(name in properties))).toEqual([]);
  });

  const reference = readFileSync(join(ROOT, 'docs/reference/commands.md'), 'utf8');
  const verbs = lines.flatMap(([place, text]): [string, string][] => {
    const [, verb] = /npx nx-ec2 ((?:runs|instances|store) [a-z]+|[a-z-]+)/.exec(text) ?? [];
    return verb === undefined ? [] : [[place, verb]];
  });

  it.each(verbs)('%s uses the verb %s, which the reference has', (_, verb) => {
    expect(reference).toContain(`### \`nx-ec2 ${verb}\``);
  });

  it('is found, and some are run', () => {
    expect(verbs.length).toBeGreaterThan(5);
    expect(targets.length).toBeGreaterThan(20);
    expect(commands.filter((block) => !isMarkedNotRun(block)).length).toBeGreaterThan(10);
  });

  it.each(commands.filter(({ mark }) => mark !== null).map(at))('%s says why it is not run', (_, block) => {
    expect(isMarkedNotRun(block)).toBe(true);
  });
});
