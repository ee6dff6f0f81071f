import { NETWORK_PROFILES } from '../../src/local-aws/link/network';
import { inTheCommand, oneCommand, throughTheStore, total, underWatch } from './floor';

const { wan } = NETWORK_PROFILES;

describe('the floor, the shortest possible time,', () => {
  it('of one command is: connect, send, pick-up, reply', () => {
    expect(total(oneCommand(wan))).toBe(120 + 30 + 300 + 30);
    expect(total(inTheCommand(wan, 6_250))).toBe(480 + 1);
  });

  it('of a file that goes through the store is: upload, acknowledgement, one command, download on the instance', () => {
    const [up, down] = [4_000_000 / 6_250, 4_000_000 / 125_000];
    expect(total(throughTheStore(wan, 4_000_000))).toBeCloseTo(120 + up + 60 + 30 + 300 + 10 + 5 + down + 30);
  });

  it('of an edit under a watch is: PUT, half a poll interval, GET', () => {
    expect(total(underWatch(wan, 6_250, 100))).toBeCloseTo(60 + 1 + 50 + 5 + 6_250 / 125_000);
  });

  it('is zero if there is no network latency', () => {
    expect(total(throughTheStore({}, 4_000_000))).toBe(0);
  });
});
