/** Node 20 keeps relaxed SIMD behind a flag of V8, which a test may set and a library should not. Import this first. */
import {setFlagsFromString} from 'node:v8';

setFlagsFromString('--experimental-wasm-relaxed-simd');
