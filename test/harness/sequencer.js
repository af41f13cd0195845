/** Starts the longest files first: the contract on a device is one line of source, which jest's guess by size puts last. */
const {default: Sequencer} = require('@jest/test-sequencer');

const LONGEST = [
  'backends/webgpu', 'backends/chromium', 'webgpu/variants', 'graph/models', 'layers/layers', 'backends/cpu_f', 'cache/kv',
  'documents/', 'webgl/webgl', 'wasm/variants', 'examples/', 'webgpu/halves', 'package/', 'backends/', 'script_tag',
]; // prettier-ignore

const rank = ({path}) => {
  const found = LONGEST.findIndex(part => path.includes(`/test/${part}`));
  return found < 0 ? LONGEST.length : found;
};

module.exports = class LongestFirst extends Sequencer {
  sort(tests) {
    return [...super.sort(tests)].sort((a, b) => rank(a) - rank(b));
  }
};
