import {contractOnNode} from '../harness/contract';

contractOnNode('cpu');
