/** @file The k-th largest magnitude of many numbers, without sorting them. */

/**
 * The k-th largest of |x|, exactly: a float's bits without its sign are ordered as it is. They are counted by their
 * upper 16 bits, then those of the bucket that holds the k-th by the lower 15. NaN is larger than everything.
 *
 * @param k 1 is the largest; at most the length
 * @throws RangeError if there is no k-th
 */
export function magnitudeAt(values: Float32Array, k: number): number {
  if (!(k >= 1 && k <= values.length)) throw new RangeError(`there is no ${k}th largest of ${values.length} numbers`);
  // Signed integers, which engines keep in registers as they are.
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length), upper = new Int32Array(1 << 16);
  for (let i = 0; i < bits.length; i++) upper[(bits[i] & 0x7fffffff) >>> 15]++;
  const high = bucketOf(upper, k), lower = new Int32Array(1 << 15);
  for (let i = 0; i < bits.length; i++) {
    const size = bits[i] & 0x7fffffff;
    if (size >>> 15 === high.bucket) lower[size & 0x7fff]++;
  }
  const found = Int32Array.of(high.bucket << 15 | bucketOf(lower, high.left).bucket);
  return new Float32Array(found.buffer)[0];
}

/** The bucket, from the top, that holds the k-th element, and which one of its own that is. */
function bucketOf(counts: Int32Array, k: number): { readonly bucket: number; readonly left: number } {
  let left = k, bucket = counts.length - 1;
  while (left > counts[bucket]) left -= counts[bucket--];
  return { bucket, left };
}
