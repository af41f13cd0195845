import {contractInPage} from '../harness/contract';

contractInPage('webgpu');
