import type { Language, Token } from './tokens';

export interface Argument {
  /** null: by its position. */
  keyword: string | null;
  value: Range;
}

/** Tokens from `start` up to `end`, without it. */
export interface Range {
  start: number;
  end: number;
}

export interface Call {
  /** `torch.save`, with what its first name was imported as; `.save` after something that is no name. */
  name: string;
  line: number;
  args: Argument[];
  /** What a method is called on. */
  receiver: Range | null;
  /** A function or a class that is defined: the arguments are its parameters. */
  isDefinition: boolean;
}

export interface Import {
  /** `torch.nn`, `.model`, `..utils`. */
  module: string;
  /** The names that are imported from it, besides the module. */
  names: string[];
  line: number;
}

/** What a source file says, as far as it can be told without parsing it: none of its errors is one here. */
export interface Source {
  /** Project-relative. */
  path: string;
  language: Language;
  tokens: Token[];
  imports: Import[];
  calls: Call[];
  /** The values that each name is given, by the last part of the name. */
  values: Map<string, Range[]>;
}
