import { NETWORK_PROFILES } from '../../src/local-aws/link/network';
import { inTheCommand, oneCommand, throughTheStore, total, underWatch } from './floor';

const { wan } = NETWORK_PROFILES;

describe('the floor', () => {
  it('of one command: its connection, there, pick-up, back', () => {
    expect(total(oneCommand(wan))).toBe(120 + 30 + 300 + 30);
    expect(total(inTheCommand(wan, 6_250))).toBe(480 + 1);
  });

  it('of what goes through the store: up, acknowledged, one command, down at the instance', () => {
    const [up, down] = [4_000_000 / 6_250, 4_000_000 / 125_000];
    expect(total(throughTheStore(wan, 4_000_000))).toBeCloseTo(120 + up + 60 + 30 + 300 + 10 + 5 + down + 30);
  });

  it('of an edit under a watch: PUT, half a poll, GET', () => {
    expect(total(underWatch(wan, 6_250, 100))).toBeCloseTo(60 + 1 + 50 + 5 + 6_250 / 125_000);
  });

  it('is nothing where there is no distance', () => {
    expect(total(throughTheStore({}, 4_000_000))).toBe(0);
  });
});
