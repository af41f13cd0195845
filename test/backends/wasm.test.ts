import {contractOnNode} from '../harness/contract';

contractOnNode('wasm');
