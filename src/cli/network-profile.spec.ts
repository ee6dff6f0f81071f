import { NETWORK_PROFILES } from '../local-aws/link/network';
import { networkProfile } from './network-profile';

describe('--network', () => {
  it('is a profile by its name', () => {
    expect(networkProfile('wan')).toBe(NETWORK_PROFILES.wan);
    expect(networkProfile('wan').client).toEqual({ roundTrip: 60, connect: 2, up: 6_250_000, down: 25_000_000 });
  });

  it.each([
    ['50ms', { roundTrip: 50 }],
    ['50ms,1MB', { roundTrip: 50, up: 1_048_576, down: 1_048_576 }],
    ['60ms,50Mbit', { roundTrip: 60, up: 6_250_000, down: 6_250_000 }],
    ['0.1s,800kbit,1.6Gbit', { roundTrip: 100, up: 100_000, down: 200_000_000 }],
  ])('reads %s as a link of the client', (text, link) => {
    expect(networkProfile(text)).toEqual({ client: { connect: 2, ...link } });
  });

  it.each(['', 'lan', '50', '50ms,fast', '50ms,1', '50ms,1MB,1MB,1MB', 'constructor'])('refuses %j', (text) => {
    expect(() => networkProfile(text)).toThrow(/^--network/);
  });
});
