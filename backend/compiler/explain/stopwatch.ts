/** @file How long each pass takes, for `bench/compile.ts`. */

/** Runs work and adds up its time under a name. */
export interface Stopwatch {
  /** The work's result. Time of work that it runs in turn counts there, not here. */
  run<T>(name: string, work: () => T): T;
  /** Milliseconds by name, in the order in which names first came up. */
  readonly milliseconds: ReadonlyMap<string, number>;
}

/** A stopwatch that has measured nothing yet. */
export function stopwatch(): Stopwatch {
  const milliseconds = new Map<string, number>();
  let inner = 0;
  return {
    milliseconds,
    run: (name, work) => {
      if (!milliseconds.has(name)) milliseconds.set(name, 0);
      const began = performance.now(), outer = inner;
      inner = 0;
      try {
        return work();
      } finally {
        const whole = performance.now() - began;
        milliseconds.set(name, milliseconds.get(name)! + whole - inner);
        inner = outer + whole;
      }
    },
  };
}

/** Runs work, timed where there is a stopwatch. */
export const timed = <T>(watch: Stopwatch | undefined, name: string, work: () => T): T =>
  watch ? watch.run(name, work) : work();
