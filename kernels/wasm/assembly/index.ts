/** The module: every export runs one item of a call; `probe.ts` holds what only tests and benchmarks call. */
export {gradBias, gradKeys} from './backward_keys';
export {delta, gradQueries} from './backward_queries';
export {decode, merge} from './decode';
export {forward} from './forward';
export {exponential, hyperbolicTangent, peak} from './probe';
