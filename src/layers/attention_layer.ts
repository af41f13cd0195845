/**
 * What both attention layers are made of: weights in Keras's order and shapes, projections as matrix products, rotary
 * embedding, sinks, masks, the cache, and calls by name or by position.
 *
 * B batch, T queries, S keys, E width of an input, H query heads, Hkv key/value heads, D and Dv widths of a head.
 */
import * as tf from '@tensorflow/tfjs-core';
import type {Tensor} from '@tensorflow/tfjs-core';
import {initializers, layers} from '@tensorflow/tfjs-layers';
import type {LayerVariable, Shape, SymbolicTensor} from '@tensorflow/tfjs-layers';
import {argumentError, shown} from '../../kernels/options';
import {attendFused, attendWithScores} from './attend';
import type {AttendOptions, Heads} from './attend';
import {AxisRows} from './axis_rows';
import {
  FLAGS, ROLES, asList, gatherCall, inputCount, isSymbolic, keywordTensor, positionalWiring, sameWiring, splitFlags, unwire,
} from './call_inputs'; // prettier-ignore
import type {AnyTensor, CallFlags, GatheredCall, Kwargs, Role, Wiring} from './call_inputs';
import {untaped} from '../op/tape';
import {followMasks, maskOf} from './implicit_masks';
import {ProjectionOptions} from './projection_options';
import {rotaryOptions, rotate} from './rotary';
import type {Rotary} from './rotary';
import type {AttentionCallArgs, AttentionLayerArgs, HeadSizes} from './attention_args';
import {cachedMask, checkCachedCall, checkTokens, compatible, product, shapesOfInputs} from './layer_shapes';
import type {Weights} from './layer_shapes';
type Inputs = Tensor | Tensor[] | SymbolicTensor | SymbolicTensor[];

/** Keyword under which `apply` hands `call` the wiring of a call. */
const WIRED = 'wired';
type Part = 'query' | 'key' | 'value';

/** Base class of `MultiHeadAttention` and `GroupedQueryAttention`. */
export abstract class AttentionLayer extends layers.Layer {
  protected readonly dropout: number;
  protected readonly useSinks: boolean;
  protected readonly rotary: Rotary | null;
  protected readonly seed: number | null;
  protected readonly options: ProjectionOptions;
  private readonly flags: CallFlags;
  private wiring: Wiring | null;
  /** Of the call that is under way. */
  private callNow: {wiring: Wiring; returnsScores: boolean} | null = null;
  private projections: Record<Part | 'output', Weights> | null = null;
  private sinks: LayerVariable | null = null;
  private trainingCalls = 0;

  protected constructor(
    protected readonly sizes: HeadSizes,
    args: AttentionLayerArgs,
  ) {
    super(args);
    const fail = argumentError(this.getClassName());
    const {dropout = 0, useSinks = false, seed = null, rotary, callInputs} = args;
    if (!(typeof dropout === 'number' && dropout >= 0 && dropout < 1)) {
      throw fail('dropout', 'be a number in [0, 1)', shown(dropout));
    }
    if (seed !== null && !(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32)) {
      throw fail('seed', 'be an integer in [0, 2^32)', shown(seed));
    }
    this.dropout = dropout;
    this.useSinks = useSinks ?? false;
    this.seed = seed;
    this.rotary = rotaryOptions(this.getClassName(), rotary, sizes.D);
    this.options = new ProjectionOptions(args);
    this.flags = Object.fromEntries(FLAGS.filter(flag => args[flag] != null).map(flag => [flag, args[flag]]));
    this.wiring = callInputs ?? null;
    this.supportsMasking = true;
  }

  /** The axis of the inputs along which tokens attend, counted from 0. */
  protected abstract attentionAxis(rank: number): number;
  /** Sizes that follow the query's leading ones in the output. */
  protected abstract widthsOfOutput(queryWidth: number): number[];

  /**
   * Calls the layer, which builds its weights the first time.
   * @param inputs the query, or a list [query, value, key, attentionMask, segmentIds, positions] cut off anywhere; a query alone
   *     attends to itself. Tensors or symbolic tensors.
   * @param kwargs see `AttentionCallArgs`. A symbolic call fixes inputs and flags for the layer, as tfjs-layers passes nothing
   *     of them on when a model runs.
   */
  override apply(inputs: Inputs, kwargs?: Kwargs | null): Inputs {
    const {list, wiring, flags, rest} = this.gather(inputs, kwargs ?? {});
    const symbolic = list.every(isSymbolic);
    if (symbolic) {
      this.fix(wiring, flags);
      followMasks(list);
    }
    const outer = this.callNow;
    this.callNow = {wiring, returnsScores: {...this.flags, ...flags}.returnAttentionScores ?? false};
    try {
      const only = list.length === 1 ? list[0] : list;
      return super.apply(only as Inputs, symbolic ? {} : {...rest, ...flags, [WIRED]: wiring});
    } finally {
      this.callNow = outer;
    }
  }

  private gather(inputs: Inputs, kwargs: Kwargs): GatheredCall {
    const positional = asList<AnyTensor>(inputs);
    if (positional.length > ROLES.length) {
      throw this.fail(
        'inputs',
        `be a tensor or a list of at most ${ROLES.length}`,
        `a list of length ${positional.length}`,
      );
    }
    return gatherCall(positional, kwargs, this.wiring, (name, value) =>
      keywordTensor(this, name, value, positional[0]),
    );
  }

  private fail(argument: string, must: string, got: readonly number[] | string): Error {
    return argumentError(this.getClassName())(argument, must, got);
  }

  private fix(wiring: Wiring, flags: CallFlags): void {
    const isFirst = this.inboundNodes.length === 0;
    const changed = FLAGS.filter(flag => flags[flag] !== undefined && flags[flag] !== this.flags[flag]);
    const differs = changed.length > 0 || !sameWiring(wiring, this.wiring ?? positionalWiring(inputCount(wiring)));
    if (!isFirst && differs) {
      throw new Error(
        `Layer '${this.name}' is called a second time with other ${changed.length > 0 ? changed.join(', ') : 'inputs'}: ` +
          `one layer of a model has one way of being called. Make a layer for each.`,
      );
    }
    if (isFirst) {
      Object.assign(this.flags, flags);
      this.wiring = wiring;
    }
  }

  private wiringFor(count: number): Wiring {
    const known = this.callNow?.wiring ?? this.wiring;
    return known && inputCount(known) === count ? known : positionalWiring(count);
  }

  override build(inputShape: Shape | Shape[]): void {
    const shapes = shapesOfInputs(inputShape);
    const {query, value = query, key = value} = unwire(shapes, this.wiringFor(shapes.length));
    this.checkShapes(query, value, key);
    const {H, Hkv, D, Dv} = this.sizes;
    const part = (name: string, width: Shape, heads: number, headWidth: number): Weights => {
      const channels = width[width.length - 1];
      if (channels === null)
        throw argumentError(this.getClassName())(name, 'have a known last dimension', `shape [${width}]`);
      return this.addProjection(name, [channels, heads, headWidth], [heads, headWidth]);
    };
    const outputs = this.widthsOfOutput(query[query.length - 1]!);
    this.projections = {
      query: part('query', query, H, D),
      key: part('key', key, Hkv, D),
      value: part('value', value, Hkv, Dv),
      output: this.addProjection('attention_output', [H, Dv, ...outputs], outputs),
    };
    if (this.useSinks) this.sinks = this.addWeight('sinks', [H], 'float32', initializers.zeros(), undefined, true);
    this.built = true;
  }

  private addProjection(name: string, kernel: number[], bias: number[]): Weights {
    const {initializer, regularizer, constraint} = this.options.parts('kernel');
    const ofBias = this.options.parts('bias');
    return {
      kernel: this.addWeight(`${name}/kernel`, kernel, 'float32', initializer, regularizer, true, constraint),
      bias: this.options.useBias
        ? this.addWeight(
            `${name}/bias`,
            bias,
            'float32',
            ofBias.initializer,
            ofBias.regularizer,
            true,
            ofBias.constraint,
          )
        : null,
    };
  }

  private checkShapes(query: Shape, value: Shape, key: Shape): void {
    const fail = argumentError(this.getClassName());
    const rank = query.length;
    if (rank < 3) throw fail('query', 'be a tensor of rank 3 or more', `shape [${query}]`);
    this.attentionAxis(rank);
    if (value.length !== rank) throw fail('value', `have the query's rank (${rank})`, `shape [${value}]`);
    if (key.length !== rank) throw fail('key', `have the query's rank (${rank})`, `shape [${key}]`);
    if (!compatible(value.slice(1, -1), key.slice(1, -1))) {
      throw fail(
        'key',
        `have value's sizes [${value.slice(1, -1)}] between the first and the last axis`,
        `shape [${key}]`,
      );
    }
  }

  override computeOutputShape(inputShape: Shape | Shape[]): Shape | Shape[] {
    const shapes = shapesOfInputs(inputShape);
    const {query, value = query, key = value} = unwire(shapes, this.wiringFor(shapes.length));
    this.checkShapes(query, value, key);
    const output = [...query.slice(0, -1), ...this.widthsOfOutput(query[query.length - 1]!)];
    if (!this.flags.returnAttentionScores) return output;
    const axis = this.attentionAxis(query.length);
    const leading = query.slice(0, -1).filter((_, n) => n !== axis);
    return [output, [...leading, this.sizes.H, query[axis], value[axis]]];
  }

  /** The query's mask, as in Keras. */
  override computeMask(_inputs: Tensor | Tensor[], mask?: Tensor | Tensor[]): Tensor | Tensor[] {
    const returnsScores = this.callNow?.returnsScores ?? this.flags.returnAttentionScores;
    const ofQuery = mask ? (asList(mask)[0] ?? null) : null;
    // tfjs's types know no null; it wants one mask per output.
    return (returnsScores ? [ofQuery, null] : ofQuery) as Tensor;
  }

  /**
   * The computation itself, on tensors; see `apply`, which also builds the layer.
   * @returns [B, T, E] (or with `outputShape`), or [output, scores] where `returnAttentionScores` is set.
   * @throws Error `Argument '…' passed to '…' must …, but got …`.
   */
  override call(inputs: Tensor | Tensor[], kwargs: Kwargs): Tensor | Tensor[] {
    return tf.tidy(() => {
      const {[WIRED]: wired, ...keywords} = kwargs ?? {};
      const {list, wiring, flags, rest} = wired
        ? {list: asList(inputs), wiring: wired as Wiring, ...splitFlags(keywords)}
        : this.gather(inputs, keywords);
      const byRole = unwire(list as Tensor[], wiring);
      const {query, value = query, key = value} = byRole;
      if (!this.built) this.build([query.shape, value.shape, key.shape]);
      const training = this.flags.training ?? flags.training;
      return this.attend({...byRole, query, value, key}, {...this.flags, ...flags, training, ...rest});
    });
  }

  private attend(
    tensors: Record<'query' | 'value' | 'key', Tensor> & Partial<Record<Role, Tensor>>,
    args: AttentionCallArgs,
  ) {
    const fail = argumentError(this.getClassName());
    const {query, value, key} = tensors;
    this.checkShapes(query.shape, value.shape, key.shape);
    const axis = this.attentionAxis(query.rank);
    const rows = new AxisRows(this.getClassName(), axis, query, value);
    const {D} = this.sizes;
    const project = (name: Part, x: Tensor): Tensor => {
      const {kernel, bias} = this.projections![name];
      const [, , heads] = [0, ...kernel.shape] as number[];
      const [B, S, E] = x.shape;
      if (E !== kernel.shape[0])
        throw fail(name, `have a last dimension of ${kernel.shape[0]}, as when it was built`, x.shape);
      return tf.reshape(product(tf.reshape(x, [B * S, E]), kernel, bias, E), [B, S, heads, kernel.shape[2]!]);
    };
    const heads: Heads = {
      q: project('query', rows.flatten(query)),
      k: project('key', rows.flatten(key)),
      v: project('value', rows.flatten(value)),
    };
    const isTraining = args.training ?? false;
    const options: AttendOptions = {
      scale: 1 / Math.sqrt(D),
      causal: args.useCausalMask ?? false,
      sinks: this.sinks?.read(),
      dropout: isTraining ? this.dropout : 0,
      seed: this.seed === null ? undefined : (this.seed + (isTraining ? this.trainingCalls++ : 0)) % 2 ** 32,
    };
    const {cache} = args;
    const output = cache
      ? this.attendCached(heads, {...tensors, query}, args, options)
      : this.attendAnew(heads, tensors, args, options, rows);
    const [context, scores] = asList(output);
    const result = rows.restore(this.projectOutput(context));
    return scores ? [result, rows.restoreScores(scores)] : result;
  }

  private attendAnew(
    heads: Heads,
    tensors: Record<'query' | 'value' | 'key', Tensor> & Partial<Record<Role, Tensor>>,
    args: AttentionCallArgs,
    options: AttendOptions,
    rows: AxisRows,
  ): Tensor | Tensor[] {
    const {query, value, key, attentionMask, segmentIds, positions} = tensors;
    const [B, T] = heads.q.shape;
    if (this.rotary) {
      const at = positions ? checkTokens(this.getClassName(), 'positions', positions, B, T) : 0;
      heads = {...heads, q: rotate(heads.q, this.rotary, at), k: rotate(heads.k, this.rotary, at)};
    }
    if (segmentIds) checkTokens(this.getClassName(), 'segmentIds', segmentIds, B, T);
    if ((segmentIds || positions) && heads.k.shape[1] !== T) {
      throw argumentError(this.getClassName())('value', `have the query's ${T} tokens where segmentIds or positions are given`, value.shape); // prettier-ignore
    }
    const masked: AttendOptions = untaped(() => {
      const ofKeys = [maskOf(value), key === value ? undefined : maskOf(key)].filter(mask => mask !== undefined);
      const queryMask = maskOf(query);
      return {
        ...options,
        segmentIds,
        queryMask: queryMask && rows.flattenMask(queryMask),
        keyMask: ofKeys.length > 0 ? rows.flattenMask(ofKeys.reduce((a, b) => tf.logicalAnd(a, b))) : undefined,
        attentionMask: attentionMask && rows.flattenAttentionMask(tf.cast(attentionMask, 'bool'), this.sizes.H),
      };
    });
    if (!args.returnAttentionScores) return attendFused(heads, masked);
    const {output, scores} = attendWithScores(heads, masked);
    return [output, scores];
  }

  private attendCached(
    {q, k, v}: Heads,
    {query, attentionMask, segmentIds, positions}: {query: Tensor} & Partial<Record<Role, Tensor>>,
    {cache, cacheLayer, lengths, returnAttentionScores}: AttentionCallArgs,
    {causal, sinks, dropout, scale}: AttendOptions,
  ): Tensor {
    checkCachedCall(this.getClassName(), query, cache, dropout, {
      segmentIds,
      positions,
      returnAttentionScores: returnAttentionScores || undefined,
    });
    const layer = cacheLayer ?? cache.layerOf(this);
    const {Hkv, D, Dv} = this.sizes;
    cache.checkSizes(this.getClassName(), {batch: q.shape[0], heads: Hkv, headDim: D, valueDim: Dv});
    if (this.rotary) {
      const starts = cache.lengths(layer);
      q = rotate(q, this.rotary, starts);
      k = rotate(k, this.rotary, starts);
    }
    const turn = (x: Tensor): Tensor => (cache.layout === 'BSHD' ? x : tf.transpose(x, [0, 2, 1, 3]));
    cache.append(layer, turn(k), turn(v), lengths && {lengths});
    const mask = attentionMask && cachedMask(this.getClassName(), tf.cast(attentionMask, 'bool'));
    return turn(cache.attend(turn(q), layer, {scale, causal, ...(sinks && {sinks}), ...(mask && {mask})}));
  }

  private projectOutput(context: Tensor): Tensor {
    const {kernel, bias} = this.projections!.output;
    const [B, T, H, Dv] = context.shape;
    const outputs = kernel.shape.slice(2) as number[];
    return tf.reshape(product(tf.reshape(context, [B * T, H * Dv]), kernel, bias, H * Dv), [B, T, ...outputs]);
  }

  override getConfig(): tf.serialization.ConfigDict {
    const {dropout, useSinks, rotary, seed, wiring} = this;
    const extra: Record<string, unknown> = {
      ...(useSinks && {useSinks}),
      ...(rotary && {rotary}),
      ...(seed !== null && {seed}),
      ...(wiring && !sameWiring(wiring, positionalWiring(inputCount(wiring))) && {callInputs: wiring}),
      ...this.flags,
    };
    return {...super.getConfig(), ...this.options.getConfig(), dropout, ...(extra as tf.serialization.ConfigDict)};
  }
}
