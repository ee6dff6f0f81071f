/** What the page shows: the part of its address after `#`. */
export type Route =
  | { page: 'runs' }
  | { page: 'instances' }
  | { page: 'run'; project: string; run: string; tab: string }
  | { page: 'compare'; runs: { project: string; run: string }[] };

const RUN = /^\d{8}-\d{6}-[a-z0-9-]{1,40}-[a-z2-7]{6}$/;

export function parseRoute(hash: string): Route {
  const [page = '', ...parts] = hash.replace(/^#\/?/, '').split('/').map(decode);
  const [project, run, tab] = parts;
  if (page === 'instances') return { page };
  if (page === 'run' && project && RUN.test(run ?? '')) return { page, project, run, tab: tab || 'overview' };
  if (page === 'compare') {
    const pairs = parts.flatMap((each, at) => (at % 2 === 0 ? [{ project: each, run: parts[at + 1] ?? '' }] : []));
    return { page, runs: pairs.filter(({ project, run }) => project && RUN.test(run)) };
  }
  return { page: 'runs' };
}

export function runLink(project: string, run: string, tab = ''): string {
  return `#/run/${encodeURIComponent(project)}/${run}${tab && `/${tab}`}`;
}

export function compareLink(runs: readonly { project: string; run: string }[]): string {
  return `#/compare/${runs.map(({ project, run }) => `${encodeURIComponent(project)}/${run}`).join('/')}`;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}
