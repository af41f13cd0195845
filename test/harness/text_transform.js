/** Shaders import as text in the tests, as they do in the bundles. */
module.exports = {
  process: text => ({code: `module.exports = ${JSON.stringify(text)};`}),
};
