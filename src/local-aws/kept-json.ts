import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';

/** A table that a restart finds again: one file of JSON, which only its owner may read. */
export class KeptJson<T> {
  private readonly rows: Map<string, T>;

  constructor(private readonly file: string) {
    this.rows = new Map(
      existsSync(file) ? Object.entries(JSON.parse(readFileSync(file, 'utf8')) as Record<string, T>) : [],
    );
  }

  all(): T[] {
    return [...this.rows.values()];
  }

  get(name: string): T | undefined {
    return this.rows.get(name);
  }

  set(name: string, row: T): void {
    this.rows.set(name, row);
    this.save();
  }

  delete(name: string): void {
    if (this.rows.delete(name)) this.save();
  }

  private save(): void {
    writeFileSync(`${this.file}.tmp`, JSON.stringify(Object.fromEntries(this.rows)), { mode: 0o600 });
    renameSync(`${this.file}.tmp`, this.file);
  }
}
