/** @file Puts what waits for each other in order, of what is ready always the first. */

/** Numbers in a heap: the smallest comes out first. */
class Heap {
  private readonly numbers: number[] = [];

  get first(): number | undefined {
    return this.numbers[0];
  }

  push(number: number): void {
    const { numbers } = this;
    let at = numbers.push(number) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (numbers[parent] <= number) break;
      numbers[at] = numbers[parent];
      at = parent;
    }
    numbers[at] = number;
  }

  pop(): void {
    const { numbers } = this, last = numbers.pop()!;
    if (numbers.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= numbers.length) break;
      if (child + 1 < numbers.length && numbers[child + 1] < numbers[child]) child++;
      if (numbers[child] >= last) break;
      numbers[at] = numbers[child];
      at = child;
    }
    numbers[at] = last;
  }
}

/** What goes before others that are ready too. */
export interface Preference {
  readonly isPreferred: (unit: number) => boolean;
  /** Told of each unit in its turn: those that are preferred from now on, and were not. */
  readonly after: (unit: number) => Iterable<number>;
}

const none: Preference = { isPreferred: () => false, after: () => [] };

/**
 * Units 0, 1, 2, … in an order in which each comes after those it waits for. Of the ready ones the first that is
 * preferred comes next, or the first. What waits for itself in a circle is left out.
 *
 * @param before for each unit, those it waits for
 */
export function inOrder(before: readonly ReadonlySet<number>[], preference: Preference = none): number[] {
  const waiting = new Int32Array(before.length), after: number[][] = before.map(() => []);
  before.forEach((needs, unit) => {
    waiting[unit] = needs.size;
    for (const need of needs) after[need].push(unit);
  });
  const ready = new Heap(), preferred = new Heap(), done = new Uint8Array(before.length), order: number[] = [];
  const isReady = (unit: number): void => {
    ready.push(unit);
    if (preference.isPreferred(unit)) preferred.push(unit);
  };
  waiting.forEach((count, unit) => count === 0 && isReady(unit));
  const next = (heap: Heap): number | undefined => {
    while (heap.first !== undefined && done[heap.first]) heap.pop();
    return heap.first;
  };
  for (let unit = next(ready); unit !== undefined; unit = next(ready)) {
    const chosen = next(preferred) ?? unit;
    done[chosen] = 1;
    order.push(chosen);
    for (const other of preference.after(chosen)) if (waiting[other] === 0 && !done[other]) preferred.push(other);
    for (const user of after[chosen]) if (--waiting[user] === 0) isReady(user);
  }
  return order;
}
