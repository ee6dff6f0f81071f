import { type Raw, isObject } from './merge';
import { configurationSchema, trainShape, NAMING, ONCE } from './schema';
import type { z } from 'zod';
import { launchSpecSchema } from './launch-spec';
import { nearest, explainIssue } from './explain-issue';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { Problem } from '../../report/problem';

/** @param top the keys that are allowed at the top, where they are not those of ec2.config.json. */
export function validate(
  values: Raw,
  where: string,
  top = Object.keys(configurationSchema.shape),
): z.infer<typeof configurationSchema> {
  const result = configurationSchema.safeParse(values, ONCE);
  if (result.success) return result.data;
  const issues = result.error.issues.flatMap((issue) => meant(issue, values));
  const lines = issues.map((issue) => {
    const path = issue.path.join('.');
    if (issue.code === 'unrecognized_keys') {
      const shape =
        path === 'sync'
          ? Object.keys(configurationSchema.shape.sync.unwrap().shape)
          : path === 'train'
            ? Object.keys(trainShape)
            : path.startsWith('instance')
              ? Object.keys(launchSpecSchema.shape)
              : top;
      const keys = issue.keys.map((key) => [path, key].filter(Boolean).join('.'));
      const replaced = keys.flatMap((key) => (REPLACED.has(key) ? [`  ${key}: unknown; ${REPLACED.get(key)}`] : []));
      const advice = issue.keys.flatMap((key, index) => {
        if (REPLACED.has(keys[index])) return [];
        const guess = top.includes('$schema') && !path && !shape.includes(key) && key in trainShape;
        const near = guess ? undefined : nearest(key, shape);
        if (!guess && near === undefined) return [];
        const text = guess ? `unknown here; write it inside "train"` : `unknown; did you mean "${near}"?`;
        return [{ key: keys[index], text: `  ${sanitizeForTerminal(keys[index])}: ${text}` }];
      });
      replaced.push(...advice.map(({ text }) => text));
      const unknown = keys.filter((key) => !REPLACED.has(key) && !advice.some((each) => each.key === key));
      if (unknown.length > 0)
        replaced.push(`  ${unknown.map(sanitizeForTerminal).join(', ')}: unknown; allowed are ${shape.join(', ')}`);
      return replaced.join('\n');
    }
    return `  ${sanitizeForTerminal(path) || '(top)'}: ${explainIssue(issue, values)}`;
  });
  throw new Problem('CONFIG_INVALID', `${where}:\n${lines.join('\n')}`);
}

/** Keys that have another name by now, or another form, and how to write what they said. */
const REPLACED: ReadonlyMap<string, string> = new Map([
  ['train.outputDir', 'to bring back the files that are left in a directory, write "outputs": ["<directory>/"]'],
  ['train.artifacts', 'write "outputs", with "download" in the place of "fetch"'],
  ['train.fetchLimit', 'write "downloadLimit"'],
]);

type Issue = z.core.$ZodIssue;

/** What is wrong with the one form of `instance` that was meant, instead of with all of them. */
function meant(issue: Issue, values: Raw): Issue[] {
  const { instance } = values;
  if (issue.code !== 'invalid_union' || issue.path.join('.') !== 'instance' || !isObject(instance)) return [issue];
  const key = NAMING.find((each) => each in instance);
  const forms = configurationSchema.shape.instance.unwrap().options;
  const form = forms.findIndex((each) => 'shape' in each && (key ? key in each.shape : 'type' in each.shape));
  return issue.errors[form].map((each) => ({ ...each, path: ['instance', ...each.path] }));
}
