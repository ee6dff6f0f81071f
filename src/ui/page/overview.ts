import { useEffect, useState } from 'preact/hooks';
import type { Overview, ProjectRuns } from '../api';
import { ask, troubleOf, type Answer } from './api-client';

/** How often new runs are looked for, ms, and at least so long for each project: S3 charges for each listing. */
const LOOK_MS = 10_000;
const LOOK_MS_FOR_PROJECT = 1_000;
/** Clocks of those who start runs, which name them, may differ so much, ms. */
const SKEW_MS = 3_600_000;

/** The projects and their runs: all of them once, and then those that have been started since. */
export function useOverview(): Answer<Overview> {
  const [answer, setAnswer] = useState<Answer<Overview>>({ data: null, trouble: null });
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout>;
    let known: Overview | null = null;
    const look = async () => {
      try {
        if (document.visibilityState === 'visible') {
          const since = known && sinceNewest(known);
          const found = await ask<Overview>('overview', since ? { since } : {});
          known = known ? merged(known, found) : found;
          setAnswer({ data: known, trouble: null });
        }
      } catch (error) {
        setAnswer({ data: known, trouble: troubleOf(error) });
      }
      timer = setTimeout(look, Math.max(LOOK_MS, LOOK_MS_FOR_PROJECT * (known?.listed ?? 0)));
    };
    void look();
    return () => clearTimeout(timer);
  }, []);
  return answer;
}

/** What ids begin with that may have been given since the newest one that is known. */
function sinceNewest({ projects }: Overview): string | null {
  const newest = projects.map(({ runs }) => runs[0] ?? '').reduce((a, b) => (a > b ? a : b), '');
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)/.exec(newest) ?? [];
  const at = Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second));
  if (Number.isNaN(at)) return null;
  return new Date(at - SKEW_MS).toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-');
}

function merged(known: Overview, found: Overview): Overview {
  const projects = new Map(known.projects.map((each) => [each.project, each]));
  let changed = false;
  for (const each of found.projects) {
    const before: ProjectRuns | undefined = projects.get(each.project);
    const runs = [...new Set([...each.runs, ...(before?.runs ?? [])])].sort((a, b) => (a < b ? 1 : -1));
    if (runs.length === before?.runs.length && each.trouble?.code === before.trouble?.code) continue;
    changed = true;
    projects.set(each.project, { ...each, runs });
  }
  // The same object: what depends on it is not computed again.
  return changed ? { ...known, projects: [...projects.values()] } : known;
}
