/** Set by `npm run test:full`: everything, where `npm test` runs a selection, mostly because a software GPU's compiler takes long. */
export const FULL_TABLE = process.env.FULL_TABLE === '1';
