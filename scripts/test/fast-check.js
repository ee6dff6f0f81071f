// What specs import as fast-check: each run of the tests checks the same inputs, so that its result depends on the code alone.
// NX_EC2_PROPERTY_SEED=random tries others; a failure names its seed, and NX_EC2_PROPERTY_SEED=<seed> repeats it.
// By its path: its name leads to this file.
const fc = require('../../node_modules/fast-check/lib/cjs/fast-check.js');

const wanted = process.env.NX_EC2_PROPERTY_SEED || '20261130';
if (wanted !== 'random') {
  const seed = Number(wanted);
  if (!Number.isInteger(seed)) throw new Error(`NX_EC2_PROPERTY_SEED: "${wanted}" is neither "random" nor an integer.`);
  fc.configureGlobal({ seed });
}
module.exports = fc;
