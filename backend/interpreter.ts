/** @file The f64 interpreter as a device: needs nothing, runs everything, slowly. The oracle of all tests. */
import { expand, node } from "../dsl/build.ts";
import { isHalf } from "../dsl/half.ts";
import { evaluate } from "../dsl/interpret/interpret.ts";
import type { HostArray, Node } from "../dsl/node.ts";
import { registerType, type Values } from "../dsl/primitive.ts";
import { sizeOf } from "../dsl/shape.ts";
import { emptyReport } from "./compiler/explain/explain.ts";
import type { Device, DeviceArray } from "./runtime.ts";
import "../dsl/primitives/mod.ts";

const hostValues = (x: Node): HostArray => {
  if (x.op !== "data" || isHalf(x.dtype)) return evaluate([x])[0].data;
  return (x as Node<"data">).attributes.values;
};

const dataNode = ({ shape, dtype }: Node, values: HostArray): Node => node("data", [], { shape, dtype, values });

/** Opens the interpreter. */
export function openInterpreter(): Device {
  return {
    name: "interpreter",
    put: (x) => dataNode(x, hostValues(x)),
    allocate: (shape, dtype) => node("data", [], { shape, dtype, values: new Float64Array(sizeOf(shape)) }),
    write: (x, values, start = 0) => (x as Node<"data">).attributes.values.set(values, start),
    read: (x): Promise<DeviceArray> => {
      const values = hostValues(x);
      if (registerType(x.dtype) === "f32") return Promise.resolve(Float32Array.from(values));
      return Promise.resolve(x.dtype === "u32" ? Uint32Array.from(values) : Int32Array.from(values));
    },
    free: () => {},
    memory: () => ({ used: 0, peak: 0 }),
    build: ({ parameters, results }) => ({
      run: (args) => {
        const given = new Map<Node, Values>(parameters.map((parameter, i) => [
          parameter,
          { shape: parameter.shape, data: Float64Array.from(hostValues(expand(args[i], parameter.shape))) },
        ]));
        return Promise.resolve(evaluate(results, given).map((value, i) => dataNode(results[i], value.data)));
      },
      report: () => emptyReport,
      restart: () => {},
      arenaBytes: 0,
      kernels: 0,
    }),
    [Symbol.dispose]: () => {},
  };
}
