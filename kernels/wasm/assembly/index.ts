/** The module: every export runs one item of a call. */
export {gradBias, gradKeys} from './backward_keys';
export {delta, gradQueries} from './backward_queries';
export {decode, merge} from './decode';
export {forward} from './forward';
