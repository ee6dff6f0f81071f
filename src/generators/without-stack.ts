import { Problem } from '../report/problem';

/**
 * Runs a generator. A `Problem` leaves it without its stack: Nx advises "Pass --verbose to see the stacktrace" for each
 * error that has one, which does not help with a user's mistake.
 */
export async function withoutStack<T>(generate: () => Promise<T>): Promise<T> {
  try {
    return await generate();
  } catch (error) {
    if (error instanceof Problem) error.stack = undefined;
    throw error;
  }
}
