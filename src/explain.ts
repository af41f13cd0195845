/** What a call of `flashAttention` would do, without doing it: who serves it and why, and its place under a machine's roofs. */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor, TensorLike} from '@tensorflow/tfjs-core';
import type {Machine, MachineName} from '../kernels/machines';
import {INPUT_NAMES, visibleKeys} from '../kernels/problem';
import type {AttentionInputs, AttentionProblem} from '../kernels/problem';
import {fusedWork, machineOf, place, scoreTraffic, unfusedWork} from '../kernels/roofline';
import type {AttentionSizes, Bound, RooflinePoint} from '../kernels/roofline';
import {preferred} from './backends/implementation';
import {attentionCall, checkIsOptions} from './op/arguments';
import type {FlashAttentionOptions} from './op/arguments';
import {chooseImplementation, implementationsOf} from './register';
import type {PassedOver} from './register';

/** tfjs computes in float32; masks hold a byte an element. */
const BYTES_PER_ELEMENT = 4;

/** The machine whose roofs are assumed for a backend: the modest one of its kind. */
const ASSUMED_MACHINES: Record<string, MachineName> = {webgl: 'laptop', webgpu: 'laptop'};

export interface ExplainOptions extends FlashAttentionOptions {
  /** Whose peak and bandwidth decide `bound`: a preset of `roofline` or figures of your own; default 'laptop' on a GPU, else 'cpu'. */
  machine?: MachineName | Machine;
}

/** The same figure for the implementation that serves the call and for matMul, softmax, matMul. */
export interface Both<T> {
  /** Of the implementation. */
  fused: T;
  /** Of the three ops. */
  unfused: T;
}

/** What `explain` answers. */
export interface Explanation {
  /** tfjs's name of the current backend. */
  backend: string;
  /** Name of the implementation that would serve the call. */
  implementation: string;
  /** Its kernel that would, where it has several; else the same name. */
  kernel: string;
  /** Its tile sizes by name; `queries` counts those of all heads in a tile where heads that share keys share tiles. */
  tiles: Record<string, number>;
  /**
   * Bytes of each array that the kernel itself keeps on the chip, by name: a workgroup's on a GPU, a thread's on a processor, whose caches hold
   * them. Empty where other libraries' ops do the work, or registers hold everything.
   */
  onChip: Record<string, number>;
  /** FLOPs of the two products over the pairs that causality and window leave; what other masks hide is not known without running. */
  flops: number;
  /** Bytes to and from main memory, by the model of `roofline`. */
  bytes: Both<number>;
  /** FLOPs per byte; unfused computes the hidden pairs, too. */
  intensity: Both<number>;
  /** What would take longest on `machine`. */
  bound: Both<Bound>;
  /** The least time on `machine`, by the longest of arithmetic, main memory and on-chip memory. */
  seconds: Both<number>;
  /** Bytes held at the peak besides inputs and outputs. */
  memory: Both<number>;
  /** The backend's other implementations, and kernels of this one, each with the reason why it does not serve the call. */
  reasons: PassedOver[];
  /** Name of the machine that `bound` was worked out for. */
  machine: string;
}

/**
 * Says which implementation would serve `flashAttention(q, k, v, options)` on the current backend and why the others would not, and
 * what the call computes, moves and holds, beside the same call as matMul, softmax, matMul. Nothing is run, no tensor is left.
 *
 * Of the forward pass alone: it has no word on the gradient, which other kernels with other tiles may compute, nor knows whether one is
 * taken, under which `precision: 'float16x2'` is served in float32.
 *
 * @param q as `flashAttention` takes it; so are k and v.
 * @param options those of `flashAttention`, checked as there, and the machine whose peak and bandwidth decide `bound`.
 * @throws Error `Argument '…' passed to 'explain' must …, but got …`.
 */
export function explain(
  q: Tensor | TensorLike,
  k: Tensor | TensorLike,
  v: Tensor | TensorLike,
  options: ExplainOptions = {},
): Explanation {
  let explanation!: Explanation;
  // What arrays were turned into, and q, k, v seen as rank 4, goes with the scope.
  tf.tidy(() => {
    explanation = explained(q, k, v, options);
  });
  return explanation;
}

function explained(
  q: Tensor | TensorLike,
  k: Tensor | TensorLike,
  v: Tensor | TensorLike,
  options: ExplainOptions,
): Explanation {
  const backend = tf.backend();
  const backendName = tf.getBackend();
  checkIsOptions('explain', options);
  const {machine: wanted = ASSUMED_MACHINES[backendName] ?? 'cpu', ...attentionOptions} = options;
  const {problem, inputs} = attentionCall('explain', q, k, v, attentionOptions);
  const machine = machineOf('explain', wanted);

  const {implementation, passedOver} = chooseImplementation(backendName, problem, backend);
  const {name} = implementation;
  const plan = implementation.plan(problem, backend);
  const {
    kernel = name,
    tiles,
    keyReadings = 1,
    onChip = {},
    extraBytes,
    scoresInMainMemory,
    passedOver: kernels = [],
  } = plan;
  const sizes = sizesOf(problem, inputs);
  const fusedCost = fusedWork(sizes, BYTES_PER_ELEMENT, keyReadings);
  if (scoresInMainMemory) fusedCost.bytes += scoreTraffic(sizes, BYTES_PER_ELEMENT);
  const fused = place(fusedCost, machine);
  const unfused = place(unfusedWork(sizes, BYTES_PER_ELEMENT), machine);
  const both = <K extends keyof RooflinePoint>(figure: K): Both<RooflinePoint[K]> => ({
    fused: fused[figure],
    unfused: unfused[figure],
  });
  return {
    backend: backendName,
    implementation: name,
    kernel,
    tiles,
    onChip,
    flops: fused.flops,
    bytes: both('bytes'),
    intensity: both('intensity'),
    bound: both('bound'),
    seconds: both('seconds'),
    memory: {fused: extraBytes, unfused: unfused.extraBytes},
    reasons: [...passedOver, ...kernels, ...notReached(backendName, name, passedOver, sizes)],
    machine: machine.name,
  };
}

/** The implementations that were not asked, since another serves the call. */
function notReached(
  backendName: string,
  serving: string,
  passedOver: PassedOver[],
  sizes: AttentionSizes,
): PassedOver[] {
  const asked = [serving, ...passedOver.map(({name}) => name)];
  const isEmpty = sizes.B * sizes.Sq * sizes.Sk === 0;
  const reason = isEmpty ? 'there is nothing to compute' : preferred(serving);
  return implementationsOf(backendName)
    .filter(({name}) => !asked.includes(name))
    .map(({name}) => ({name, reason}));
}

function sizesOf(problem: AttentionProblem, inputs: AttentionInputs<Tensor>): AttentionSizes {
  const {B, H, Hkv, Sq, Sk, D, Dv, windowLeft, windowRight, softcap, dropout, hasQueryOffset} = problem;
  // Where the offset is a tensor its values stay unread: the default stands for them.
  const offset = hasQueryOffset ? Sk - Sq : problem.queryOffset;
  let visiblePairs = 0;
  for (let i = 0; i < Sq; i++) {
    const {from, to} = visibleKeys(problem, i, offset);
    visiblePairs += to - from;
  }
  const options = INPUT_NAMES.slice(3).flatMap(name => inputs[name] ?? []);
  const hidesKeys =
    windowLeft >= 0 || windowRight >= 0 || problem.mask !== null || problem.hasKeyLengths || problem.hasSegments;
  const scoreOps = [softcap > 0, problem.bias !== null, problem.alibi !== 'none', hidesKeys, dropout > 0];
  return {
    B, H, Hkv, Sq, Sk, D, Dv, visiblePairs,
    optionBytes: options.reduce((sum, {size, dtype}) => sum + size * (dtype === 'bool' ? 1 : 4), 0),
    scorePasses: scoreOps.filter(Boolean).length,
  }; // prettier-ignore
}
