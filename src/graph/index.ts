/**
 * Rewriting of GraphModels: finds attention in converted models and serves it by `flashAttention`. Importing this module
 * registers the op for models that were fused before.
 */
import '../register';
import './register_op';

export {fuseAttention} from './fuse';
export type {FuseOptions} from './fuse';
export {loadFusedGraphModel} from './load';
export type {LoadFusedOptions} from './load';
export type {Report, Site, SiteOptions} from './report';
export {GraphError} from './graph_view';
