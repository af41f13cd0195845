/** Prints what a CommonJS script gets: the entries in argv, and what importing them brought along. */
const tf = require('@tensorflow/tfjs-core');

const entries = process.argv.slice(2);
const modules = entries.map(entry => require(entry));
const {flashAttention} = require('tfjs-flash-attention');
const loaded = Object.keys(require.cache).filter(file => /tfjs-(backend-\w+|node|converter|layers)/.test(file));
const backends = Object.keys(tf.engine().registryFactory);

require('@tensorflow/tfjs-backend-cpu');
tf.env().set('IS_TEST', true);
tf.setBackend('cpu').then(() => {
  const output = flashAttention([[1, 0]], [[1, 0], [0, 1]], [[1], [3]], {scale: 0}); // prettier-ignore
  console.log(JSON.stringify({names: modules.map(Object.keys), loaded, backends, output: [...output.dataSync()]}));
});
