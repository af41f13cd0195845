import {contractInPage} from '../harness/contract';

// In Node the same kernels were held to more of it, on the same software driver.
contractInPage('webgpu', 'sample');
