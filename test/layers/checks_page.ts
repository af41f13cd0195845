/** The layers' and the cache's checks inside a browser page. */
import {cacheChecks} from '../cache/checks';
import {layerChecks} from './checks';

export const runLayerCheck = (name: string) => layerChecks[name]();
export const runCacheCheck = (name: string) => cacheChecks[name]();
