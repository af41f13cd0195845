/** Slow memory that counts: how often it was read and written, and in how many sweeps. */
import type {BeginPass, Vector} from './online_softmax';

export class CountedMemory {
  reads = 0;
  writes = 0;
  readonly passes: string[] = [];
  private readInPass: Array<Set<number>> = [];

  /** Hand this to a function as its `beginPass`. */
  readonly beginPass: BeginPass = name => {
    this.passes.push(name);
    this.readInPass.forEach(seen => seen.clear());
  };

  /**
   * An array whose accesses count.
   * @throws Error on a read outside a pass, or a second read of an element within one: that would be another pass unnamed.
   */
  vector(values: Float32Array): Vector {
    const seen = new Set<number>();
    this.readInPass.push(seen);
    return {
      length: values.length,
      read: i => {
        if (this.passes.length === 0) throw new Error(`Element ${i} was read before the first pass began.`);
        if (seen.has(i)) throw new Error(`Element ${i} was read twice in pass '${this.passes.at(-1)}'.`);
        seen.add(i);
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
