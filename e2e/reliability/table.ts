/** What one fault does, as it was seen. */
export interface Row {
  fault: string;
  /** What the target has printed besides the training's own log. */
  sees: string;
  kept: string;
  next: string;
}

const BEGIN = '<!-- made by e2e/reliability: NX_EC2_WRITE_DOCS=1 npm run test:e2e -- reliability -->';
const END = '<!-- end -->';

/** The page with the table of these rows in the place of its own. */
export function withTable(page: string, rows: Row[]): string {
  const cell = (text: string) => text.replace(/\|/g, '\\|').replace(/\n/g, '<br>');
  const lines = rows.map(({ fault, sees, kept, next }) => `| ${[fault, sees, kept, next].map(cell).join(' | ')} |`);
  const table = ['| fault | message | kept in the store | next step |', '| - | - | - | - |', ...lines];
  const [before, after] = [page.indexOf(BEGIN), page.indexOf(END)];
  return `${page.slice(0, before)}${BEGIN}\n\n${table.join('\n')}\n\n${page.slice(after)}`;
}

/**
 * What the rows of a page promise: the fault, the outcome, and the next step. How a fault was met on the way there
 * differs with what it met first.
 */
export function promisesOf(page: string): string[] {
  return page
    .slice(page.indexOf(BEGIN), page.indexOf(END))
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .slice(2)
    .map((line) => {
      const [, fault, , kept, next] = line.split(/(?<!\\)\|/).map((each) => each.trim());
      return [fault, /outcome: .*/.exec(kept)?.[0], next].join(' | ');
    });
}
