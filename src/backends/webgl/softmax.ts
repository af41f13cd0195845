/** Softmax in two passes on WebGL: statistics per segment of a row, then the normalised row. */
import {env} from '@tensorflow/tfjs-core';
import type {KernelBackend, TensorInfo} from '@tensorflow/tfjs-core';
import {glslHeader} from '../../../kernels/header';
import {planSoftmax} from '../../../kernels/webgl/plan';
import common from '../../../kernels/webgl/common.glsl';
import normalise from '../../../kernels/webgl/softmax.frag';
import statistics from '../../../kernels/webgl/softmax_statistics.frag';
import {webglBackend} from './backend';
import {deviceOf} from './device';
import {accessors} from './passes';
import {newTensor, viewTensor} from './textures';

export function onlineSoftmax(logits: TensorInfo, kernelBackend: KernelBackend): TensorInfo {
  const backend = webglBackend(kernelBackend);
  const [rows, classes] = logits.shape;
  if (rows * classes === 0) return backend.makeTensorInfo(logits.shape, 'float32', new Float32Array(0));
  const device = deviceOf(kernelBackend);
  const view = viewTensor(backend, logits);
  const packed = env().getBool('WEBGL_PACK');
  const {segments, perSegment, width, height} = planSoftmax(rows, classes, device.limits);
  const header = glslHeader({LANES: device.lanes, HALF: 0, PACKED: Number(packed)}) + accessors({Logits: view});
  return device.run(backend, 'OnlineSoftmax', () => {
    const output = newTensor(device, backend, logits.shape, packed);
    const sums = device.arrays.acquire(backend, width, height, 1, 0);
    const uniforms = {
      uSizes: [rows, classes, segments, perSegment],
      uLogitsShape: view.shape,
      uWidth: width,
      uWidths: [width, output.width],
    };
    device.draw(device.program(header, [common], statistics), sums.framebuffer, [0, 0, width, height], uniforms, {
      uLogits: view,
    });
    device.draw(
      device.program(header, [common], normalise), output, [0, 0, output.width, output.height],
      uniforms, {uLogits: view, uStatistics: sums},
    ); // prettier-ignore
    device.arrays.release(backend, sums);
    return output.info;
  });
}
