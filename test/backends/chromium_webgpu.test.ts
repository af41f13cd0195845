import {contractInPage} from '../harness/contract';

// In Node the same kernels are held to more of it, by the same Dawn on the same software driver.
contractInPage('webgpu', 'glance');
