/** @file The tuples that MultiPL-E's Java tasks import as `org.javatuples`: value classes of our own, same names. */

const arities = { Unit: 1, Pair: 2, Triplet: 3, Quartet: 4, Quintet: 5, Sextet: 6, Septet: 7, Octet: 8 } as const;

function source(name: string, arity: number): string {
  const places = Array.from({ length: arity }, (_, i) => i);
  const types = places.map((i) => `T${i}`).join(", "), all = places.map((i) => `v${i}`).join(", ");
  const typed = places.map((i) => `T${i} v${i}`).join(", ");
  return `package org.javatuples;
public final class ${name}<${types}> {
  ${places.map((i) => `private final T${i} v${i};`).join(" ")}
  public ${name}(${typed}) { ${places.map((i) => `this.v${i} = v${i};`).join(" ")} }
  public static <${types}> ${name}<${types}> with(${typed}) { return new ${name}<>(${all}); }
  ${places.map((i) => `public T${i} getValue${i}() { return v${i}; }`).join("\n  ")}
  private java.util.List<Object> list() { return java.util.Arrays.asList(${all}); }
  @Override public boolean equals(Object other) {
    return other instanceof ${name} && list().equals(((${name}<${places.map(() => "?").join(", ")}>) other).list());
  }
  @Override public int hashCode() { return list().hashCode(); }
  @Override public String toString() { return list().toString(); }
}
`;
}

/** Java files by path. */
export const tupleSources: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(arities).map(([name, arity]) => [`org/javatuples/${name}.java`, source(name, arity)]),
);
