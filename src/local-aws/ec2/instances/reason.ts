import type { StateReason } from '../../instance/record';

const BY_USER = 'Client.UserInitiatedShutdown';

/** `User initiated (2024-01-01 00:00:00 GMT)` */
export function initiated(by: 'User' | 'Service'): string {
  return `${by} initiated (${new Date().toISOString().slice(0, 19).replace('T', ' ')} GMT)`;
}

export function byUser(): StateReason {
  return { code: BY_USER, message: `${BY_USER}: User initiated shutdown`, transition: initiated('User') };
}
