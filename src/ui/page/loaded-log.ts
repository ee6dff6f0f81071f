import type { LogPiece } from '../api';
import { linesOf } from './log-lines';

/** Lines that are kept: those at the other end are given up for more. */
const MAX_LINES = 100_000;

interface Loaded {
  from: number;
  next: number;
  lines: string[];
  isVerified: boolean;
}

/** The part of a log that the page has: pieces that follow one another. */
export class LoadedLog {
  private pieces: Loaded[] = [];
  private rest: string | null = null;
  size = 0;
  isActive = true;
  lines: string[] = [];

  get from(): number {
    return this.pieces[0]?.from ?? 0;
  }

  get next(): number {
    return this.pieces.at(-1)?.next ?? 0;
  }

  /** Whether the end of the log, as far as it is known, is among the lines. */
  get hasEnd(): boolean {
    return this.rest !== null || this.next >= this.size;
  }

  /** Whether the record of the run confirms all of the lines. */
  get isVerified(): boolean {
    return this.pieces.every((each) => each.isVerified);
  }

  replace(piece: LogPiece): void {
    this.pieces = [];
    this.append(piece);
  }

  append(piece: LogPiece): void {
    if (piece.next > piece.from || this.pieces.length === 0) this.pieces.push(loaded(piece));
    this.rest = piece.rest;
    while (this.count() > MAX_LINES && this.pieces.length > 1) this.pieces.shift();
    this.note(piece);
  }

  /** @returns how many lines were added before the others. */
  prepend(piece: LogPiece): number {
    const added = loaded(piece);
    this.pieces.unshift(added);
    while (this.count() > MAX_LINES && this.pieces.length > 1) {
      this.pieces.pop();
      this.rest = null;
    }
    this.note(piece);
    return added.lines.length;
  }

  private count(): number {
    return this.pieces.reduce((sum, { lines }) => sum + lines.length, 0);
  }

  private note({ size, isActive }: LogPiece): void {
    this.size = size;
    this.isActive = isActive;
    const rest = this.rest === null ? [] : linesOf(this.rest);
    this.lines = [...this.pieces.flatMap(({ lines }) => lines), ...rest];
  }
}

function loaded({ from, next, text, isVerified }: LogPiece): Loaded {
  return { from, next, lines: linesOf(text), isVerified };
}
