/**
 * The text of the kernels on subgroup matrices, and the directives of all that need more than the core language: none of it is for
 * tfjs's own device, so that the script for pages goes without (rollup.config.mjs).
 */
import convert from './convert.wgsl';
import forwardMatrix from './forward_matrix.wgsl';
import halves from './halves.wgsl';
import matrixCopy from './matrix_copy.wgsl';
import matrixRare from './matrix_rare.wgsl';
import matrixStage from './matrix_stage.wgsl';
import matrixTypes from './matrix_types.wgsl';
import finish from './finish.wgsl';

export const MATRIX_BODIES = {
  forwardMatrix: matrixTypes + finish + halves + matrixRare + forwardMatrix,
  convert,
};

/** How keys and values reach workgroup memory. */
export function stageOf(kernel: string, {CONVERTED}: Record<string, number | boolean>): string {
  if (kernel !== 'forwardMatrix') return '';
  return CONVERTED ? matrixCopy : matrixStage;
}

/** WGSL's directives for what a kernel uses beyond the core language. */
export function enables(kernel: string, exchange: string): string {
  const isMatrix = kernel === 'forwardMatrix';
  return [
    isMatrix || kernel === 'forwardHalf' || kernel === 'convert' ? 'enable f16;\n' : '',
    isMatrix || exchange === 'subgroup' ? 'enable subgroups;\n' : '',
    isMatrix ? 'enable chromium_experimental_subgroup_matrix;\n' : '',
  ].join('');
}
