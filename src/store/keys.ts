/** The start of all keys of the store: the prefix and the version of the format. The slash after the prefix is optional. */
export function storeBase(prefix: string): string {
  return `${prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`}v2/`;
}

/** The configured prefix of a store's base, without the slash at its end. */
export function prefixOfBase(base: string): string {
  return base.replace(/\/?v2\/$/, '');
}

/** Names of objects below the store's base. `project` is encoded, as it is in a key. */
export const storeNames = {
  runtime: (sha256: string) => `runtime/${sha256}`,
  pack: (sha256: string) => `packs/${sha256}`,
  index: (name: string) => `indexes/${name}`,
  projects: 'projects/',
  project: (project: string, rest: string) => `${storeNames.projects}${project}/${rest}`,
  manifest: (project: string, snapshot: string) => storeNames.project(project, `manifests/${snapshot}`),
  run: (project: string, run: string) => storeNames.project(project, run ? `run/${run}/` : 'run/'),
};

/** The keys of the store below its prefix: docs/reference/formats.md, "Store". */
export class StoreKeys {
  private readonly base: string;
  /** Without a slash at its end. */
  readonly prefix: string;

  /**
   * @param prefix the configured prefix, with or without a slash at its end; '' for the bucket's root.
   * @param project the Nx project's name, any text.
   */
  constructor(
    prefix: string,
    readonly project: string,
  ) {
    this.base = storeBase(prefix);
    this.prefix = prefixOfBase(this.base);
  }

  runtime(sha256: string): string {
    return this.base + storeNames.runtime(sha256);
  }

  pack(sha256: string): string {
    return this.base + storeNames.pack(sha256);
  }

  /** An index object; with '' the prefix of all of them. */
  index(name: string): string {
    return this.base + storeNames.index(name);
  }

  /** What `prune` is about to remove: docs/reference/formats.md, "Garbage". */
  get pendingDeletes(): string {
    return this.index('pending-deletes');
  }

  manifest(snapshot: string): string {
    return this.own(`manifests/${snapshot}`);
  }

  ref(tree: string, instance: string): string {
    return this.own(`ref/${tree}/${instance}`);
  }

  archive(syncId: string): string {
    return this.own(`archive/${syncId}.tar.gz`);
  }

  plan(syncId: string): string {
    return this.own(`plan/${syncId}.json`);
  }

  /** The prefix below which the doctor has an instance write; ends in a slash. */
  doctor(run: string): string {
    return this.own(`doctor/${run}/`);
  }

  /** Which run was started last for a training. */
  key(runKey: string): string {
    return this.own(`key/${runKey}`);
  }

  /** How far the launch of an instance is: docs/reference/formats.md, "Launch". */
  launch(specHash: string): string {
    return this.own(`launch/${specHash}`);
  }

  /** Which runs are on their way to which member of a pool: docs/reference/formats.md, "Pool". */
  get reservations(): string {
    return this.own('reservations');
  }

  /** The keys of another project, or of a pool, in the same store. */
  of(project: string): StoreKeys {
    return new StoreKeys(this.prefix, project);
  }

  /** The prefix of all that is a run's, ends in a slash; with '' that of all runs. */
  run(run: string): string {
    return this.own(run ? `run/${run}/` : 'run/');
  }

  /** The prefix of what one node of a run on several writes; that of the first one, 0, is the run's own. */
  node(run: string, rank: number): string {
    return rank === 0 ? this.run(run) : `${this.run(run)}node/${rank}/`;
  }

  /** The prefix of a watch's edits and acknowledgements; ends in a slash. */
  watch(watchId: string): string {
    return this.own(`watch/${watchId}/`);
  }

  probe(id: string): string {
    return this.own(`plan/${id}.probe`);
  }

  private own(rest: string): string {
    return this.base + storeNames.project(encodeURIComponent(this.project), rest);
  }
}
