/** Reads the steps between product and softmax as what the op knows: scale, softcap, bias, mask, causal. */
import {hasAny, permuted} from '../axes';
import type {Axes, Letters} from '../axes';
import {same} from '../dims';
import type {Dim} from '../dims';
import type {Port} from '../graph_view';
import {HiddenScores, RowsWithoutKey} from './ahead';
import type {Ahead} from './ahead';
import type {Bounds} from './bounds';
import {HIDES, canBuild} from './mask_algebra';
import type {Expression} from './mask_algebra';
import type {Masks} from './masks';
import {scalarValue} from './matchers';
import type {Subject} from './matchers';
import {perKey} from './per_key';
import {NotFused} from './scores';
import type {BiasTerm, Keep, Step} from './scores';
import {movedAxes} from './values';

/** What happens to the scores between product and softmax. */
export interface Scores {
  axes: Axes;
  scale: number;
  /** Numbers of the run that scale the scores, too. */
  factors: Array<Step & {kind: 'factor'}>;
  /** As many numbers as there are heads, or batch elements. */
  perHead: Array<Step & {kind: 'perHead'}>;
  /** The scale before a tanh; null where there is none. */
  tanhInner: number | null;
  bias: BiasTerm[];
  keep: Keep[];
  keepIsExact: boolean;
  /** Key j is visible iff j ≤ i + this. */
  causal: Dim | null;
  /** What a row is that sees no key; undefined where there can be none. */
  ahead?: Ahead;
  /** The scores' axes where masks and biases meet them; undefined without any. */
  maskAxes?: Axes;
}

/** Goes from the product to the logits and adds up what happens to the scores. */
export function readScores(
  subject: Subject,
  masks: Masks,
  bounds: Bounds,
  steps: Step[],
  product: Axes,
  letters: Letters,
): Scores | NotFused {
  const s: Scores = {
    axes: product,
    scale: 1,
    tanhInner: null,
    factors: [],
    perHead: [],
    bias: [],
    keep: [],
    keepIsExact: true,
    causal: null,
  };
  /** Scores multiplied by 0 where this condition fails: only right once something lowers them there. */
  let zeroed: Dim | null = null;
  const hidden = new HiddenScores();
  const broadcasting = (expression: Expression): Expression => {
    const [queries, keys] = letters.current(s.axes).slice(-2).map(axis => letters.sizeOf(axis)); // prettier-ignore
    return perKey(subject, expression, {queries, keys});
  };
  const setCausal = (offset: Dim): NotFused | null => {
    if (s.causal && !same(s.causal, offset)) return new NotFused('two different causal masks meet');
    s.causal = offset;
    return null;
  };
  const aligned: Array<{port: Port; axes: Axes}> = [];

  for (const step of steps) {
    const {node} = step;
    if (
      (step.kind === 'scale' || step.kind === 'factor' || step.kind === 'perHead') &&
      raisesRank(subject, step.by, s.axes)
    ) {
      return new NotFused(`'${node.name}' gives the scores another rank`);
    }
    switch (step.kind) {
      case 'same':
        break;
      case 'scale':
        s.scale *= step.factor;
        if (!Number.isFinite(s.scale) || step.factor === 0)
          return new NotFused(`'${node.name}' scales by ${step.factor}`);
        if (s.keep.length > 0 && step.factor < 0)
          return new NotFused(`'${node.name}' turns hidden scores into large ones`);
        if ((s.causal || zeroed) && step.factor < 0)
          return new NotFused(`'${node.name}' turns hidden scores into large ones`);
        for (const term of s.bias) term.scaledBy.push(step);
        hidden.scale(step.factor);
        break;
      case 'factor':
      case 'perHead':
        if (s.bias.length + s.keep.length > 0 || s.causal || zeroed || s.tanhInner !== null) {
          return new NotFused(
            step.kind === 'factor'
              ? `'${node.name}' scales masked scores by a number that is not known before the model runs`
              : `'${node.name}' scales masked scores by a number that differs from head to head`,
          );
        }
        if (step.kind === 'factor') s.factors.push(step);
        else {
          s.perHead.push(step);
          aligned.push({port: step.by, axes: letters.current(s.axes)});
        }
        break;
      case 'tanh':
        if (s.bias.length + s.keep.length > 0 || s.causal || zeroed || s.tanhInner !== null) {
          return new NotFused(`the Tanh '${node.name}' comes after a mask or bias`);
        }
        s.tanhInner = s.scale;
        s.scale = 1;
        break;
      case 'transpose':
      case 'reshape': {
        letters.learn(s.axes, subject.shapes.of(subject.graph.input(node, 0)));
        const axes = step.kind === 'transpose' ? permuted(letters.current(s.axes), step.perm) : movedAxes(subject, node, s.axes, letters); // prettier-ignore
        if (!axes)
          return new NotFused(`the ${node.op} '${node.name}' of the scores cannot be proved to keep queries and keys`);
        s.axes = axes;
        break;
      }
      case 'multiply': {
        const meaning = masks.meaning(step.by);
        if (meaning.kind === 'number' && meaning.value === 1) break;
        const keeps = meaning.kind === 'masked' && meaning.visible.kind === 'number' && meaning.visible.value === 1 && meaning.hidden === 0; // prettier-ignore
        if (!keeps || s.bias.length > 0) return new NotFused(`the scores are multiplied by '${step.by.node.name}', which is no known factor`); // prettier-ignore
        zeroed = meaning.offset;
        hidden.zero();
        aligned.push({port: step.by, axes: letters.current(s.axes)});
        break;
      }
      case 'add': {
        const meaning = masks.meaning(step.bias);
        if (meaning.kind === 'number' && Number.isFinite(meaning.value)) break;
        const sign = step.negative ? -1 : 1;
        aligned.push({port: step.bias, axes: letters.current(s.axes)});
        const term = (expression: Expression): BiasTerm => ({
          expression: broadcasting(expression),
          negative: step.negative,
          scaledBy: [],
        });
        if (meaning.kind === 'masked' && sign * meaning.hidden <= HIDES && visibleIsUsable(meaning.visible)) {
          const clash = setCausal(meaning.offset);
          if (clash) return clash;
          if (zeroed && same(zeroed, meaning.offset)) zeroed = null;
          const visible = meaning.visible.kind === 'number' ? undefined : term(meaning.visible);
          if (visible) s.bias.push(visible);
          hidden.addMask(meaning, sign, meaning.visible, visible);
        } else {
          const bias = term({kind: 'tensor', port: step.bias});
          s.bias.push(bias);
          hidden.addBias(bias);
        }
        break;
      }
      case 'select': {
        const fill = scalarValue(subject, step.fill) ?? uniform(masks, step.fill);
        if (fill === undefined || !(fill <= HIDES)) return new NotFused(`'${node.name}' replaces scores by '${step.fill.node.name}', which is not known to be very low`); // prettier-ignore
        const meaning = masks.meaning(step.keep);
        aligned.push({port: step.keep, axes: letters.current(s.axes)});
        const hides = step.inverted ? 1 : 0;
        if (
          meaning.kind === 'masked' &&
          meaning.as === 'number' &&
          meaning.hidden === hides &&
          visibleIsUsable(meaning.visible)
        ) {
          // prettier-ignore
          const clash = setCausal(meaning.offset);
          if (clash) return clash;
          if (meaning.visible.kind === 'number') {
            if (meaning.visible.value === hides) return new NotFused(`'${node.name}' hides every key`);
            hidden.fill(fill, undefined);
            break;
          }
          const keep = {expression: broadcasting(meaning.visible), inverted: step.inverted};
          hidden.fill(fill, keep);
          s.keep.push(keep);
        } else {
          s.keep.push({expression: broadcasting({kind: 'tensor', port: step.keep}), inverted: step.inverted});
        }
        if (fill !== -Infinity) s.keepIsExact = false;
        break;
      }
      default:
        step satisfies never;
    }
  }
  if (zeroed) return new NotFused('masked scores are set to 0, which does not hide them');
  if (s.causal) {
    const ahead = hidden.ahead(subject, bounds, s.bias, s.keep);
    if (ahead instanceof RowsWithoutKey) return ahead;
    s.ahead = ahead;
  }
  return checkAligned(subject, aligned, s, letters);
}

/** A number of shape [1, 1, 1] would. */
function raisesRank({shapes}: Subject, number: Port, axes: Axes): boolean {
  return (shapes.of(number)?.length ?? 0) > (hasAny(axes) ? 2 : axes.length);
}

function uniform(masks: Masks, port: Port): number | undefined {
  const meaning = masks.meaning(port);
  return meaning.kind === 'number' ? meaning.value : undefined;
}

/** A number can only be dropped or stand where the graph has a constant for it. */
function visibleIsUsable(expression: Expression): boolean {
  return expression.kind === 'number' || canBuild(expression);
}

/** Every mask and bias must have met the scores in the same order of axes: batch axes, then queries, then keys. */
function checkAligned(
  {shapes}: Subject,
  aligned: Array<{port: Port; axes: Axes}>,
  scores: Scores,
  letters: Letters,
): Scores | NotFused {
  const places = aligned.map(({port, axes}) => ({port, axes: letters.current(axes)}));
  const widest = places.reduce<Axes>((best, {axes}) => (axes.length > best.length ? axes : best), []);
  for (const {port, axes} of places) {
    if (axes.join() === widest.join()) continue;
    const rank = shapes.of(port)?.length;
    const lastTwo = axes.slice(-2).join() === widest.slice(-2).join();
    if (!lastTwo || rank === undefined || rank > 2) return new NotFused(`'${port.node.name}' meets scores of another shape than the other masks do`); // prettier-ignore
  }
  if (widest.length > 0 && !hasAny(widest) && widest.some(axis => axis.length !== 1)) {
    return new NotFused('a mask meets scores whose batch and head axes are merged');
  }
  return widest.length > 0 ? {...scores, maskAxes: widest} : scores;
}
