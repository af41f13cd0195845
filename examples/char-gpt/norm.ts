/** Layer normalization (Ba et al. 2016). tfjs-layers' own tiles mean and variance to all channels, and the gradient of a tile is a slice a channel. */
import * as tf from '@tensorflow/tfjs';

const EPSILON = 1e-3;

export class LayerNorm extends tf.layers.Layer {
  static readonly className = 'CharGptLayerNorm';
  private gain!: tf.LayerVariable;
  private bias!: tf.LayerVariable;

  override build(shape: tf.Shape | tf.Shape[]): void {
    const width = (shape as tf.Shape).at(-1)!;
    this.gain = this.addWeight('gain', [width], 'float32', tf.initializers.ones());
    this.bias = this.addWeight('bias', [width], 'float32', tf.initializers.zeros());
    super.build(shape);
  }

  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    return tf.tidy(() => {
      const [x] = [inputs].flat();
      const centred = tf.sub(x, tf.mean(x, -1, true));
      const variance = tf.mean(tf.square(centred), -1, true);
      const normal = tf.mul(centred, tf.rsqrt(tf.add(variance, EPSILON)));
      return tf.add(tf.mul(normal, this.gain.read()), this.bias.read());
    });
  }

  override computeOutputShape(shape: tf.Shape | tf.Shape[]): tf.Shape | tf.Shape[] {
    return shape;
  }
}
tf.serialization.registerClass(LayerNorm);
