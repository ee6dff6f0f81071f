/** What all keys of the store begin with: the prefix, with or without a slash at its end, and the format's version. */
export function storeBase(prefix: string): string {
  return `${prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`}v1/`;
}

/** The keys of the store below its prefix: docs/FORMAT.md, "Store". */
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
    this.prefix = this.base.replace(/\/?v1\/$/, '');
  }

  helper(sha256: string): string {
    return `${this.base}helper/${sha256}`;
  }

  pack(sha256: string): string {
    return `${this.base}p/${sha256}`;
  }

  /** An index object; with '' the prefix of all of them. */
  index(name: string): string {
    return `${this.base}x/${name}`;
  }

  /** What `prune` is about to remove: docs/FORMAT.md, "Garbage". */
  get condemned(): string {
    return this.index('condemned');
  }

  record(snapshot: string): string {
    return this.own(`m/${snapshot}`);
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
  out(run: string): string {
    return this.own(`out/${run}/`);
  }

  /** Which run was started last for a training. */
  key(runKey: string): string {
    return this.own(`key/${runKey}`);
  }

  /** How far the launch of an instance is: docs/FORMAT.md, "Launch". */
  launch(madeKey: string): string {
    return this.own(`launch/${madeKey}`);
  }

  /** The prefix of all that is a run's, ends in a slash; with '' that of all runs. */
  run(run: string): string {
    return this.own(run ? `run/${run}/` : 'run/');
  }

  /** The prefix of a watch's edits and acknowledgements; ends in a slash. */
  watch(session: string): string {
    return this.own(`watch/${session}/`);
  }

  probe(id: string): string {
    return this.own(`plan/${id}.probe`);
  }

  private own(rest: string): string {
    return `${this.base}${encodeURIComponent(this.project)}/${rest}`;
  }
}
