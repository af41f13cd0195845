/** The API pages, from the docstrings of what the entries export; an unknown tag, parameter or link is an error. */
import {OptionDefaults} from 'typedoc';

/** @type {Partial<import('typedoc').TypeDocOptions>} */
export default {
  name: 'tfjs-flash-attention',
  entryPoints: ['src/index.ts', 'src/graph/index.ts', 'src/layers/index.ts', 'src/webgpu.ts'],
  out: 'docs/api',
  readme: 'README.md',
  projectDocuments: ['docs/*.md'],
  includeVersion: true,
  disableSources: true,
  skipErrorChecking: true,
  excludePrivate: true,
  excludeProtected: true,
  excludeInternal: true,
  treatWarningsAsErrors: true,
  validation: {notExported: false},
  // tfjs-layers marks what its own build must keep.
  modifierTags: [...OptionDefaults.modifierTags, '@nocollapse'],
  sort: ['source-order'],
};
