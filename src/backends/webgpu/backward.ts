/** The gradients on WebGPU, one group at a time as tfjs asks for them: dq; dk and dv; dbias; dsinks. No atomics anywhere. */
import {util} from '@tensorflow/tfjs-core';
import type {TensorInfo} from '@tensorflow/tfjs-core';
import type {AttentionProblem} from '../../../kernels/problem';
import {laneTiles} from '../../../kernels/tiling';
import type {LaneTiles, WorkgroupLimits} from '../../../kernels/tiling';
import type {BackwardCall} from '../../op/kernels';
import {floats, optionConstants, optionalBindings, partOf, partsOf, problemUniforms, smallInputs} from './call';
import type {Part} from './call';
import {stateOf} from './device';
import type {WebGPUInternals} from './device';
import {dispatch} from './dispatch';
import type {Bound} from './dispatch';

/** Work of a kernel whose invocations do not share rows. */
const SINGLE: LaneTiles = {lanes: 1, rows: 1, threads: 64, keys: 1, block: 1, exchange: 'single'};

/** Places of a bias per workgroup and axis; the kernel's SIDE. */
const BIAS_SIDE = 16;
/** Workgroups that a broadcast bias's gradient is spread over at most. */
const BIAS_WORKGROUPS = 1024;

const laneConstants = ({lanes, rows, threads, keys, block}: LaneTiles) => ({
  LANES: lanes, ROWS: rows, THREADS: threads, KEYS: keys, BLOCK: block,
}); // prettier-ignore

/** Tiles of the kernels for dq and for dk and dv. */
export interface BackwardTiles {
  q: LaneTiles;
  kv: LaneTiles;
}

/** @returns null where not even one row fits the workgroup's memory. */
export function backwardTiles({D, Dv}: AttentionProblem, limits: WorkgroupLimits): BackwardTiles | null {
  const q = laneTiles(D, Dv, 'backwardQ', limits);
  const kv = laneTiles(D, Dv, 'backwardKV', limits);
  return q && kv && {q, kv};
}

/** @param seenAsHalves forward rounded k and v to float16. */
export function runBackward(
  backend: WebGPUInternals,
  call: BackwardCall,
  tiles: BackwardTiles,
  seenAsHalves: boolean,
): TensorInfo[] {
  const {problem, inputs, saved, wanted} = call;
  const {B, H, Hkv, Sq, Sk} = problem;
  const rows = B * H * Sq;
  const small = smallInputs(backend, inputs, problem, [saved.lse, saved.lseLow], rows);
  const common = {...problemUniforms(problem), ...small.uniforms, rowsAt: small.restAt};
  const options = optionConstants(problem, seenAsHalves);
  const parts = partsOf(problem, stateOf(backend).bindingLimit)!;

  for (const part of parts) delta(part);
  const gradients = gradientsOf(wanted);
  backend.disposeData(small.tensor!.dataId);
  return gradients;

  function gradientsOf(group: BackwardCall['wanted']): TensorInfo[] {
    switch (group) {
      case 'q': {
        const dq = like(inputs.q);
        for (const part of parts) gradientOfQueries(part, dq);
        return [dq];
      }
      case 'kv': {
        const dk = like(inputs.k);
        const dv = like(inputs.v);
        // With a bias and a mask there is no binding left for both at once.
        const passes = inputs.bias && inputs.mask ? [{dk}, {dv}] : [{dk, dv}];
        for (const part of parts) for (const targets of passes) gradientsOfKeys(part, targets);
        return [dk, dv];
      }
      case 'bias':
        return [gradientOfBias()];
      case 'sinks':
        return [gradientOfSinks()];
    }
  }

  function like({shape}: TensorInfo): TensorInfo {
    return backend.makeTensorInfo(shape, 'float32');
  }

  /** Inputs that every gradient kernel reads; `row` cuts them to the part. */
  function readBindings(part: Part): {bindings: Bound[]; of: ReturnType<typeof partOf>} {
    const of = partOf(problem, part);
    const bindings = [
      of.row('q', 'q', inputs.q),
      of.row('k', 'k', inputs.k),
      of.row('v', 'v', inputs.v),
      of.row('dOutput', 'output', saved.dOutput),
      ...optionalBindings(small.tensor, inputs, of),
    ];
    return {bindings, of};
  }

  function delta(part: Part): void {
    const of = partOf(problem, part);
    const partRows = part.batches * part.heads * (H / Hkv) * Sq;
    dispatch(backend, {
      kernel: 'delta',
      exchange: 'single',
      constants: {...options, ...laneConstants(SINGLE)},
      bindings: [
        of.row('output', 'output', saved.output),
        of.row('dOutput', 'output', saved.dOutput),
        floats('dLse', saved.dLse),
        floats('rowValues', small.tensor!, 'read_write'),
        ...optionalBindings(),
      ],
      uniforms: {...common, ...of.uniforms, tiles: partRows},
      items: Math.ceil(partRows / SINGLE.threads),
    });
  }

  function gradientOfQueries(part: Part, dq: TensorInfo): void {
    const {bindings, of} = readBindings(part);
    const count = Math.ceil((Sq * (H / Hkv) * tiles.q.lanes) / (tiles.q.threads * tiles.q.rows));
    dispatch(backend, {
      kernel: 'backwardQ',
      exchange: tiles.q.exchange,
      constants: {...options, ...laneConstants(tiles.q)},
      bindings: [...bindings, of.row('dq', 'q', dq, 'read_write')],
      uniforms: {...common, ...of.uniforms, tiles: count, blocks: tiles.q.keys / tiles.q.block},
      items: count * part.heads * part.batches,
    });
  }

  function gradientsOfKeys(part: Part, {dk, dv}: {dk?: TensorInfo; dv?: TensorInfo}): void {
    const {bindings, of} = readBindings(part);
    const count = Math.ceil((Sk * tiles.kv.lanes) / (tiles.kv.threads * tiles.kv.rows));
    const target = (name: 'dk' | 'dv', tensor?: TensorInfo): Bound =>
      tensor
        ? of.row(name, name === 'dk' ? 'k' : 'v', tensor, 'read_write')
        : {name, kind: 'absent', access: 'read_write'};
    dispatch(backend, {
      kernel: 'backwardKV',
      exchange: tiles.kv.exchange,
      constants: {...options, ...laneConstants(tiles.kv)},
      bindings: [...bindings, target('dk', dk), target('dv', dv)],
      uniforms: {...common, ...of.uniforms, tiles: count, blocks: tiles.kv.keys / tiles.kv.block},
      items: count * part.heads * part.batches,
    });
  }

  function gradientOfBias(): TensorInfo {
    const [perBatch, perHead, perRow, perKey] = problem.bias!.map((n, axis) => n === [B, H, Sq, Sk][axis]);
    const rowTiles = Math.ceil(Sq / BIAS_SIDE);
    const keyTiles = Math.ceil(Sk / BIAS_SIDE);
    const own = (perBatch ? B : 1) * (perHead ? H : 1) * (perRow ? rowTiles : 1) * (perKey ? keyTiles : 1);
    const walk = (B * H * rowTiles * keyTiles) / own;
    const steps = Math.ceil(walk / Math.max(1, Math.floor(BIAS_WORKGROUPS / own)));
    const splits = Math.ceil(walk / steps);
    const size = util.sizeFromShape([...problem.bias!]);
    const dBias = like(inputs.bias!);
    const shares = splits > 1 ? backend.makeTensorInfo([splits * size], 'float32') : dBias;
    const {bindings} = readBindings(parts[0]);
    dispatch(backend, {
      kernel: 'backwardBias',
      exchange: 'single',
      constants: {
        ...options,
        ...laneConstants({...SINGLE, threads: BIAS_SIDE ** 2}),
        PER_BATCH: perBatch, PER_HEAD: perHead, PER_ROW: perRow, PER_KEY: perKey,
      }, // prettier-ignore
      bindings: [
        ...bindings.map(binding => (binding.kind === 'row' ? {...binding, kind: 'f32' as const} : binding)),
        floats('parts', shares, 'read_write'),
      ],
      uniforms: {...common, splits, splitKeys: steps},
      items: own * splits,
    });
    if (splits > 1) {
      dispatch(backend, {
        kernel: 'sumParts',
        exchange: 'single',
        constants: {...options, ...laneConstants(SINGLE)},
        bindings: [floats('parts', shares), floats('result', dBias, 'read_write'), ...optionalBindings()],
        uniforms: {Sk: size, splits},
        items: Math.ceil(size / SINGLE.threads),
      });
      backend.disposeData(shares.dataId);
    }
    return dBias;
  }

  function gradientOfSinks(): TensorInfo {
    const dSinks = like(inputs.sinks!);
    dispatch(backend, {
      kernel: 'backwardSinks',
      exchange: 'single',
      constants: {...options, ...laneConstants({...SINGLE, threads: 256})},
      bindings: [...optionalBindings(small.tensor), floats('dSinks', dSinks, 'read_write')],
      uniforms: common,
      items: H,
    });
    return dSinks;
  }
}
