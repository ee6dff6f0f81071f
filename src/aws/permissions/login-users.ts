/** The users that images are logged into with, as the runtime looks for them: src/runtime/system/account.py. */
export const LOGIN_USERS = [
  'ubuntu',
  'ec2-user',
  'admin',
  'debian',
  'rocky',
  'almalinux',
  'centos',
  'fedora',
  'core',
  'bitnami',
  'cloud-user',
];
