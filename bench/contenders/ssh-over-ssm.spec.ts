import { NETWORK_PROFILES } from '../../src/local-aws/link/network';
import { total } from '../report/floor';
import { sshLink, sshOverSsm } from './ssh-over-ssm';

const { wan } = NETWORK_PROFILES;

describe('SSH over a Session Manager tunnel', () => {
  it('takes six round trips to AWS and nine to the instance before it starts a program', () => {
    expect(total(sshOverSsm(wan, false))).toBe(6 * 60 + 9 * 65);
  });

  it('takes one round trip to the instance over a connection that is kept', () => {
    expect(total(sshOverSsm(wan, true))).toBe(65);
  });

  it.each([
    ['new', false, 945],
    ['kept', true, 65],
  ])('delays a %s connection by them, and every round trip by both hops', (_, kept, wait) => {
    const { roundTrip, connect, up, down } = sshLink(wan, kept);
    expect(roundTrip).toBe(65);
    expect(connect! * roundTrip!).toBeCloseTo(wait);
    expect({ up, down }).toEqual({ up: wan.client!.up, down: wan.client!.down });
  });

  it('costs nothing without a distance', () => {
    expect(sshLink({}, false)).toEqual({ roundTrip: 0, connect: 0 });
  });
});
