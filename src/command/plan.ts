/** The documents that client and runtime exchange, as types: src/schema describes them. */
export type * from '../schema/plan';
export type * from '../schema/reply';
export type * from '../schema/run';
