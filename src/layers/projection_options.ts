/**
 * Initializers, regularizers and constraints of the projections. tfjs-layers reads and writes these options only inside its own
 * layers, so a Dense layer, which has them by the same names, is asked.
 */
import type {serialization} from '@tensorflow/tfjs-core';
import {layers} from '@tensorflow/tfjs-layers';

type DenseArgs = Parameters<typeof layers.dense>[0];

const NAMES = [
  'useBias', 'kernelInitializer', 'biasInitializer', 'kernelRegularizer', 'biasRegularizer', 'kernelConstraint',
  'biasConstraint',
] as const satisfies ReadonlyArray<keyof DenseArgs>; // prettier-ignore

/** As Keras names them; the kernels' initializer is 'glorotUniform' by default, the biases' 'zeros', bias is used. */
export type ProjectionArgs = Pick<DenseArgs, (typeof NAMES)[number]>;

/** The fields of a Dense layer that tfjs's types hide. */
type Resolved = {[K in Exclude<keyof ProjectionArgs, 'useBias'>]-?: Exclude<DenseArgs[K], undefined | string>} & {
  useBias: boolean;
};

/** What `addWeight` takes. Written out: inferred, it would reach the published types as paths into tfjs-layers. */
interface WeightOptions {
  initializer: Resolved['kernelInitializer'];
  regularizer: Resolved['kernelRegularizer'];
  constraint: Resolved['kernelConstraint'];
}

export class ProjectionOptions {
  private readonly dense: layers.Layer;

  constructor(args: ProjectionArgs) {
    const given = Object.fromEntries(NAMES.filter(name => args[name] != null).map(name => [name, args[name]]));
    // Named, so that tfjs's numbering of unnamed Dense layers stays what it is.
    this.dense = layers.dense({units: 1, kernelInitializer: 'glorotUniform', ...given, name: 'projection_options'});
  }

  private get resolved(): Resolved {
    return this.dense as unknown as Resolved;
  }

  get useBias(): boolean {
    return this.resolved.useBias;
  }

  /** What `addWeight` wants to know of a projection's kernel or bias. */
  parts(of: 'kernel' | 'bias'): WeightOptions {
    const {resolved} = this;
    return of === 'kernel'
      ? {
          initializer: resolved.kernelInitializer,
          regularizer: resolved.kernelRegularizer,
          constraint: resolved.kernelConstraint,
        }
      : {
          initializer: resolved.biasInitializer,
          regularizer: resolved.biasRegularizer,
          constraint: resolved.biasConstraint,
        };
  }

  getConfig(): serialization.ConfigDict {
    const config = this.dense.getConfig();
    return Object.fromEntries(NAMES.map(name => [name, config[name]]));
  }
}
