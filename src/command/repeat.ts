import type { Operation } from './plan';

/**
 * Whether the command of an operation may be sent again. Systems Manager has no client token: each time it is another
 * command, and the first may arrive after all.
 */
export interface Repeat {
  /**
   * After one that never started by what Systems Manager says of it: refused by an agent without room (which
   * Systems Manager tells as ProcessorBufferFull or not at all, until it is not delivered in time), not delivered, or
   * failed with code -1.
   */
  unstarted: boolean;
  /** After one that ran and ended without a reply: its worker was killed, or its reply was lost. */
  noReply: boolean;
  /** Why it is harmless that both arrive, and, where `noReply` is false, why the user hears of it first. */
  why: string;
}

/** For each operation of the runtime. */
export const REPEAT: Record<Operation['op'], Repeat> = {
  sync: {
    unstarted: true,
    noReply: false,
    why: 'A tree that holds the snapshot already is left as it is, and a late one is put right by the next sync, which names the snapshot that it expects. Without a reply the first may still be writing: the second would only report BUSY.',
  },
  train: {
    unstarted: true,
    noReply: false,
    why: 'The run has its id before it is sent: a second command finds the first one’s run and attaches to it. Without a reply the tree may still be locked; the same nx command attaches later.',
  },
  watch: {
    unstarted: true,
    noReply: false,
    why: 'A tree has one watcher: the second ends the first and takes the same edits, which carry the same key. Without a reply the first may still be writing the tree.',
  },
  exec: {
    unstarted: true,
    noReply: false,
    why: 'The command has its id before it is sent: a second one finds that the first has started and starts nothing. Without a reply it may have run, so the user decides.',
  },
  poll: { unstarted: true, noReply: true, why: 'It reads the run’s record and its log.' },
  cancel: { unstarted: true, noReply: true, why: 'A run that is stopping, or has ended, is left as it is.' },
  hold: {
    unstarted: true,
    noReply: false,
    why: 'A run that is held is not held again: the second one says that it is not.',
  },
  renew: {
    unstarted: true,
    noReply: true,
    why: 'The reporter takes whichever form it got last; both are good until they expire, and another renewal follows before that.',
  },
  doctor: { unstarted: true, noReply: true, why: 'It reads, and writes one probe object, the same each time.' },
  ready: { unstarted: true, noReply: true, why: 'It reads, and keeps a uv that it fetched.' },
  activity: { unstarted: true, noReply: true, why: 'It reads.' },
};
