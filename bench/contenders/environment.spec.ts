import { ownEnvironment } from './environment';

it('a measured process inherits nothing that slows its start or that decides what Nx does', () => {
  const { PATH, ...rest } = ownEnvironment({
    PATH: '/bin',
    NODE_EXTRA_CA_CERTS: '/certificates.pem',
    NODE_OPTIONS: '--inspect',
    NX_DAEMON: 'false',
    CI: 'true',
  });
  expect(PATH).toBe('/bin');
  expect(rest).toEqual({ AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true' });
});
