/** The page's side of graph.ts. */
export {measureEncoder, measureModel} from './graph_timing';
