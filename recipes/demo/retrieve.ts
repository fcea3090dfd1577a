/**
 * @file Nearest-neighbour retrieval, the control that a tuned model has to beat: it answers a task with the training
 * solution whose instruction is most alike.
 */
import type { Task } from "./family/generate.ts";

/** Words and pairs of neighbouring words. */
function grams(text: string): string[] {
  const words = text.toLowerCase().match(/[a-z]+|[0-9]+|'[^']*'/g) ?? [];
  return [...words, ...words.slice(1).map((word, index) => `${words[index]} ${word}`)];
}

/** An instruction as a vector of length 1 over words and pairs of words, rare ones weighing more. */
type Features = Map<string, number>;

/**
 * Indexes training tasks: cosine of TF-IDF vectors over words and pairs of words.
 *
 * @param train the tasks to answer with; at least one
 * @returns a function from an instruction to the task whose instruction is most alike, the first of equals
 * @throws Error where there is no task
 */
export function retriever(train: readonly Task[]): (instruction: string) => Task {
  if (train.length === 0) throw new Error("retrieval needs at least one training task");
  const documents = train.map((task) => grams(task.instruction));
  const holders = new Map<string, number>();
  for (const document of documents) {
    for (const gram of new Set(document)) holders.set(gram, (holders.get(gram) ?? 0) + 1);
  }
  const features = (document: readonly string[]): Features => {
    const counts: Features = new Map();
    for (const gram of document) counts.set(gram, (counts.get(gram) ?? 0) + 1);
    let squares = 0;
    for (const [gram, count] of counts) {
      // Smoothed as in scikit-learn: a gram of every document still weighs 1.
      const weight = count * (1 + Math.log((1 + train.length) / (1 + (holders.get(gram) ?? 0))));
      counts.set(gram, weight);
      squares += weight * weight;
    }
    const norm = Math.sqrt(squares) || 1;
    for (const [gram, weight] of counts) counts.set(gram, weight / norm);
    return counts;
  };
  const index = documents.map(features);
  return (instruction) => {
    const query = features(grams(instruction));
    let best = 0, highest = -1;
    for (const [position, document] of index.entries()) {
      let cosine = 0;
      for (const [gram, weight] of query) cosine += weight * (document.get(gram) ?? 0);
      if (cosine > highest) [best, highest] = [position, cosine];
    }
    return train[best];
  };
}

/**
 * The training task whose instruction is most alike; {@link retriever} for many instructions.
 *
 * @param instruction the task in words
 * @param train the tasks to answer with; at least one
 * @returns the nearest one, the first of equals
 * @throws Error where there is no task
 */
export function retrieve(instruction: string, train: readonly Task[]): Task {
  return retriever(train)(instruction);
}
