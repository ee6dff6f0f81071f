/** Variables that would add to each start of Node.js or decide what Nx does. */
const LEFT_OUT = /^(NODE_EXTRA_CA_CERTS|NODE_OPTIONS|NX_.*|CI)$/;

/** What a measured process inherits. Node.js parses NODE_EXTRA_CA_CERTS at each start, whoever set it. */
export function ownEnvironment(environment: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  const kept = Object.entries(environment).filter(([name]) => !LEFT_OUT.test(name));
  return { ...Object.fromEntries(kept), AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true' };
}
