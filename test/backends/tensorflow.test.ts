import {contractOnNode} from '../harness/contract';

contractOnNode('tensorflow');
