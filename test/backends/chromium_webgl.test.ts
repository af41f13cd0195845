import {contractInPage} from '../harness/contract';

contractInPage('webgl', 'sample');
