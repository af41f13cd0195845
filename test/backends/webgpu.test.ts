import {contractOnNode} from '../harness/contract';

contractOnNode('webgpu');
