/**
 * @file Tells which parts of a program are built alike, so that the kernels of equal layers are written once.
 * A part is named by what its nodes are and how they hang together, not by which nodes they are.
 */
import { NodeMap } from "../../../dsl/graph/node_map.ts";
import { isOp, type Node } from "../../../dsl/node.ts";
import type { Shape } from "../../../dsl/shape.ts";
import { isAffineView } from "../views.ts";

/** A part of a program: equal names are equal structures, whose nodes correspond in order. */
export interface Structure {
  readonly name: string;
  readonly nodes: readonly Node[];
}

/** Names the parts of one program. */
export class Structures {
  private readonly kinds = new Map<string, number>();
  private readonly shapes = new Map<Shape, string>();
  private readonly kindOf: NodeMap<number>;
  /** The last walk that came by a node, and its place in that. */
  private readonly walked: NodeMap<number>;
  private readonly placeOf: NodeMap<number>;
  private walks = 0;

  /** For a program's nodes, in the order of their making. */
  constructor(order: readonly Node[]) {
    this.kindOf = new NodeMap<number>(order);
    this.walked = new NodeMap<number>(order);
    this.placeOf = new NodeMap<number>(order);
  }

  /**
   * The part that some nodes start.
   *
   * @param role what a node is to the part, for its name: 0 where the part ends, and the node's inputs do not matter
   */
  part(starts: readonly Node[], role: (node: Node) => number): Structure {
    const walk = ++this.walks, nodes: Node[] = [], name: number[] = [];
    const visit = (node: Node): void => {
      if (this.walked.get(node) === walk) {
        name.push(-1 - this.placeOf.get(node)!);
        return;
      }
      this.walked.set(node, walk);
      this.placeOf.set(node, nodes.push(node) - 1);
      const part = role(node);
      name.push(this.kind(node), part);
      if (part === 0) return;
      // A barrier's further inputs are waited for, not read.
      if (isAffineView(node)) visit(node.inputs[0]);
      else for (const input of node.inputs) visit(input);
    };
    starts.forEach(visit);
    return { name: name.join(), nodes };
  }

  /** A number for all nodes of one operation, attributes and type. */
  private kind(node: Node): number {
    const known = this.kindOf.get(node);
    if (known !== undefined) return known;
    const name = `${this.attributes(node)} ${node.dtype} ${this.shape(node.shape)}`;
    const kind = this.kinds.get(name) ?? this.kinds.size;
    this.kinds.set(name, kind);
    this.kindOf.set(node, kind);
    return kind;
  }

  private attributes(node: Node): string {
    // Which variable, whose data and which loop it is matters to nobody who reads it.
    if (isOp(node, "variable") || isOp(node, "data") || isOp(node, "buffer") || isOp(node, "tiled")) return "given";
    // JSON knows no −0, NaN or infinity.
    if (isOp(node, "constant")) return `${node.op} ${node.attributes.value} ${Object.is(node.attributes.value, -0)}`;
    for (const _ in node.attributes) return `${node.op} ${JSON.stringify(node.attributes)}`;
    return node.op;
  }

  private shape(shape: Shape): string {
    const known = this.shapes.get(shape);
    if (known !== undefined) return known;
    let name = "";
    for (const axis in shape) name += `${axis}:${shape[axis]} `;
    this.shapes.set(shape, name);
    return name;
  }
}
