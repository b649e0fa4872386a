import onnxProto from "onnx-proto";

const { onnx } = onnxProto;

/** The name of a value in the graph under construction. */
export type Value = string;

type Graph = InstanceType<typeof onnx.GraphProto>;
type Attribute = number | string | { readonly float: number } | { readonly graph: Graph } | readonly number[];

export const FLOAT = onnx.TensorProto.DataType.FLOAT;
export const FLOAT16 = onnx.TensorProto.DataType.FLOAT16;
export const INT32 = onnx.TensorProto.DataType.INT32;
export const INT64 = onnx.TensorProto.DataType.INT64;
const UINT8 = onnx.TensorProto.DataType.UINT8;

/** Smaller tensors stay in the graph's own file. */
const LEAST_OUTSIDE = 1 << 14;

const IR_VERSION = 10;
const OPSET = 21;
const CONTRIB = "com.microsoft";
/** Operators of ONNX Runtime's own domain; everything else is standard ONNX. */
const CONTRIB_OPS = new Set(["MatMulNBits", "RotaryEmbedding", "SkipSimplifiedLayerNormalization", "QuickGelu"]);

/** Where large tensors are put, one after the other, so that they are never in memory at once. */
export interface TensorStore {
  /** The file's name beside the graph. */
  readonly name: string;
  /** Resolves to where they begin. */
  add(bytes: Uint8Array): number;
}

/** Collects nodes and initializers; every method returns the names of the values it made. */
export class GraphBuilder {
  private readonly nodes: InstanceType<typeof onnx.NodeProto>[] = [];
  private readonly initializers: InstanceType<typeof onnx.TensorProto>[] = [];
  private readonly inputs: InstanceType<typeof onnx.ValueInfoProto>[] = [];
  private readonly outputs: InstanceType<typeof onnx.ValueInfoProto>[] = [];
  private readonly constants = new Map<string, Value>();
  private readonly prefix: string;
  private readonly store: TensorStore | null;
  private count = 0;

  /**
   * `prefix` keeps the names of a graph inside another one apart: ONNX lets an inner name hide none outside. Without a `store` all tensors
   * are in the graph's own file.
   */
  constructor(prefix = "", store: TensorStore | null = null) {
    this.prefix = prefix;
    this.store = store;
  }

  /** The name a graph inside another one gives to `name`. */
  private own(name: string): string {
    return `${this.prefix}${name}`;
  }

  input(input: string, type: number, shape: readonly (number | string)[]): Value {
    const name = this.own(input);
    this.inputs.push(valueInfo(name, type, shape));
    return name;
  }

  /** Makes `value` a graph output called `name`. */
  output(output: string, value: Value, type: number, shape: readonly (number | string)[]): void {
    const name = this.own(output);
    this.nodes.push(onnx.NodeProto.create({ opType: "Identity", name: `out_${name}`, input: [value], output: [name] }));
    this.outputs.push(valueInfo(name, type, shape));
  }

  op(opType: string, inputs: readonly Value[], attributes: Record<string, Attribute> = {}): Value {
    return this.ops(opType, inputs, 1, attributes)[0]!;
  }

  /** As `op`, for operators with several outputs. */
  ops(
    opType: string,
    inputs: readonly Value[],
    outputs: number,
    attributes: Record<string, Attribute> = {},
  ): readonly Value[] {
    const id = this.count++;
    const names = Array.from({ length: outputs }, (_, i) => this.own(`${opType}_${id}_${i}`));
    this.nodes.push(
      onnx.NodeProto.create({
        opType,
        name: this.own(`${opType}_${id}`),
        domain: CONTRIB_OPS.has(opType) ? CONTRIB : "",
        input: [...inputs],
        output: names,
        attribute: Object.entries(attributes).map(([name, value]) => attribute(name, value)),
      }),
    );
    return names;
  }

  floats(name: string, values: Float32Array, shape: readonly number[]): Value {
    return this.initializer(name, FLOAT, new Uint8Array(values.buffer, values.byteOffset, values.byteLength), shape);
  }

  /** Rounded to float16. Throws Error naming the tensor where a value is too large for that. */
  halves(name: string, values: Float32Array, shape: readonly number[]): Value {
    const halves = Float16Array.from(values);
    if (halves.some((half) => Math.abs(half) === Number.POSITIVE_INFINITY)) {
      throw new Error(`${name} has values that float16 cannot hold: take --precision fp32`);
    }
    return this.initializer(name, FLOAT16, new Uint8Array(halves.buffer), shape);
  }

  bytes(name: string, values: Uint8Array, shape: readonly number[]): Value {
    return this.initializer(name, UINT8, values, shape);
  }

  /** A small int64 constant, shared between its uses; [] is not allowed, one number may be a scalar. */
  ints(values: readonly number[], scalar = false): Value {
    const key = `${scalar ? "s" : "v"}${values.join("_").replaceAll("-", "m")}`;
    const known = this.constants.get(key);
    if (known) return known;
    const raw = new Uint8Array(BigInt64Array.from(values.map(BigInt)).buffer);
    const name = this.initializer(`const_${key}`, INT64, raw, scalar ? [] : [values.length]);
    this.constants.set(key, name);
    return name;
  }

  int32s(name: string, values: Int32Array): Value {
    return this.initializer(name, INT32, new Uint8Array(values.buffer, values.byteOffset, values.byteLength), [
      values.length,
    ]);
  }

  scalar(name: string, value: number): Value {
    return this.floats(name, Float32Array.of(value), []);
  }

  private initializer(initializer: string, dataType: number, rawData: Uint8Array, dims: readonly number[]): Value {
    const name = this.own(initializer);
    const tensor = { name, dataType, dims: [...dims] };
    if (this.store === null || rawData.length < LEAST_OUTSIDE) {
      this.initializers.push(onnx.TensorProto.create({ ...tensor, rawData }));
      return name;
    }
    const place = { location: this.store.name, offset: this.store.add(rawData), length: rawData.length };
    const externalData = Object.entries(place).map(([key, value]) => ({ key, value: String(value) }));
    const dataLocation = onnx.TensorProto.DataLocation.EXTERNAL;
    this.initializers.push(onnx.TensorProto.create({ ...tensor, externalData, dataLocation }));
    return name;
  }

  /** As the body of an operator such as Scan: its inputs and outputs in the order they were made. */
  body(name: string): Graph {
    return onnx.GraphProto.create({
      name,
      node: this.nodes,
      initializer: this.initializers,
      input: this.inputs,
      output: this.outputs,
    });
  }

  /** The serialised model. */
  build(name: string): Uint8Array {
    const model = onnx.ModelProto.create({
      irVersion: IR_VERSION,
      producerName: "foredraft",
      opsetImport: [
        { domain: "", version: OPSET },
        { domain: CONTRIB, version: 1 },
      ],
      graph: this.body(name),
    });
    return onnx.ModelProto.encode(model).finish();
  }
}

function valueInfo(name: string, elemType: number, shape: readonly (number | string)[]) {
  const dim = shape.map((d) => (typeof d === "number" ? { dimValue: d } : { dimParam: d }));
  return onnx.ValueInfoProto.create({ name, type: { tensorType: { elemType, shape: { dim } } } });
}

function attribute(name: string, value: Attribute) {
  const types = onnx.AttributeProto.AttributeType;
  if (typeof value === "number") return onnx.AttributeProto.create({ name, type: types.INT, i: value });
  if (typeof value === "string") {
    return onnx.AttributeProto.create({ name, type: types.STRING, s: new TextEncoder().encode(value) });
  }
  if ("graph" in value) return onnx.AttributeProto.create({ name, type: types.GRAPH, g: value.graph });
  if ("float" in value) return onnx.AttributeProto.create({ name, type: types.FLOAT, f: value.float });
  return onnx.AttributeProto.create({ name, type: types.INTS, ints: [...value] });
}
