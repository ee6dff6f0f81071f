import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';

/** A table that a restart finds again: one file of JSON, which only its owner may read. */
export class KeptJson<T> {
  private readonly rows: Map<string, T>;

  constructor(private readonly file: string) {
    this.rows = new Map(Object.entries(readKeptJson<Record<string, T>>(file) ?? {}));
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

/** What a file of the state directory holds; null where there is none. @throws Error that names a damaged file. */
export function readKeptJson<T>(file: string): T | null {
  if (!existsSync(file)) return null;
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as T;
  } catch (error) {
    const { message } = error as Error;
    throw new Error(
      `${file} is damaged (${message}). Restore it, or choose another state directory: npx nx-ec2 local-aws --directory PATH`,
      { cause: error },
    );
  }
}
