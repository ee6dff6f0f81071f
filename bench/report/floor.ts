import type { NetworkProfile } from '../../src/local-aws/link/network';
import type { Input } from '../inputs/inputs';

/** What can't be had for less on a network, whatever the program: its parts with what each is, ms. */
export type Floor = [what: string, ms: number][];

/** A profile with nothing left out. */
interface Distances {
  /** ms. */
  roundTrip: number;
  connect: number;
  /** Bytes a ms; nothing said: no time. */
  up: number;
  near: { roundTrip: number; connect: number; down: number };
  pickUp: number;
}

function distances({ client = {}, instance = {}, pickUp = 0 }: NetworkProfile): Distances {
  const perMs = (rate = Infinity) => rate / 1000;
  const opening = ({ roundTrip = 0, connect = 0 }) => roundTrip * connect;
  return {
    roundTrip: client.roundTrip ?? 0,
    connect: opening(client),
    up: perMs(client.up),
    near: { roundTrip: instance.roundTrip ?? 0, connect: opening(instance), down: perMs(instance.down) },
    pickUp,
  };
}

/** One SSM command that does nothing, from a process that has no connection yet, looked at in the right moment. */
export function oneCommand(network: NetworkProfile): Floor {
  const { connect, roundTrip, pickUp } = distances(network);
  return [
    ['connection to SSM', connect],
    ['the command, one way', roundTrip / 2],
    ['pick-up', pickUp],
    ['its result, one way', roundTrip / 2],
  ];
}

/** What is written on the instance and is on the terminal as soon as the network allows. */
export function oneWay(network: NetworkProfile): Floor {
  return [['one way', distances(network).roundTrip / 2]];
}

/** A command that starts an interpreter, and what that prints first. @param interpreter ms that it takes to start. */
export function firstLine(network: NetworkProfile, interpreter: number): Floor {
  return [...oneCommand(network), ['an interpreter that starts and prints', interpreter]];
}

/** Bytes that fit into the command. */
export function inTheCommand(network: NetworkProfile, bytes: number): Floor {
  return [...oneCommand(network), [`${bytes} bytes up`, bytes / distances(network).up]];
}

/**
 * Bytes that go through S3: they must be there before the command is sent, and the instance fetches them. SSM's
 * connection is made meanwhile.
 */
export function throughTheStore(network: NetworkProfile, bytes: number): Floor {
  const { connect, roundTrip, up, near, pickUp } = distances(network);
  return [
    ['connection to S3', connect],
    [`${bytes} bytes up`, bytes / up],
    ['their acknowledgement', roundTrip],
    ['the command, one way', roundTrip / 2],
    ['pick-up', pickUp],
    ["the instance's connection to S3", near.connect],
    ['its GET', near.roundTrip],
    [`${bytes} bytes down`, bytes / near.down],
    ["the command's result, one way", roundTrip / 2],
  ];
}

/** What is saved under a watch, by connections that are open: on the instance one looks for it so often, ms. */
export function underWatch(network: NetworkProfile, bytes: number, every: number): Floor {
  const { roundTrip, up, near } = distances(network);
  return [
    [`PUT of ${bytes} bytes`, roundTrip + bytes / up],
    ['half of the time between two looks', every / 2],
    ["the instance's GET", near.roundTrip + bytes / near.down],
  ];
}

export const firstTime = (network: NetworkProfile, { packed }: Input): Floor => throughTheStore(network, packed);

export function total(floor: Floor): number {
  return floor.reduce((sum, [, ms]) => sum + ms, 0);
}
