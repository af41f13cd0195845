/** Slow memory that counts: how often it was read and written, and in how many sweeps. */
import type {BeginPass, Vector} from './online_softmax';

export class CountedMemory {
  reads = 0;
  writes = 0;
  readonly passes: string[] = [];

  /** Hand this to a function as its `beginPass`. */
  readonly beginPass: BeginPass = name => {
    this.passes.push(name);
  };

  /**
   * An array whose accesses count.
   * @throws Error on a read outside a pass, or a second read of an element within one: that would be a pass not named.
   */
  vector(values: Float32Array): Vector {
    /** The number of the pass, from 1, that read each element last. */
    const readIn = new Uint32Array(values.length);
    return {
      length: values.length,
      read: i => {
        const pass = this.passes.length;
        if (pass === 0) throw new Error(`Element ${i} was read before the first pass began.`);
        if (readIn[i] === pass) throw new Error(`Element ${i} was read twice in pass '${this.passes[pass - 1]}'.`);
        readIn[i] = pass;
        this.reads++;
        return values[i];
      },
      write: (i, value) => {
        this.writes++;
        values[i] = value;
      },
    };
  }
}
