import onnxProto from "onnx-proto";
import ort from "onnxruntime-node";

const { onnx } = onnxProto;
const { UINT8, INT8, INT32 } = onnx.TensorProto.DataType;
const IR_VERSION = 10;
const OPSET = 21;

/** [K, N] bytes to multiply by from the right. */
export interface Matrix {
  readonly K: number;
  readonly N: number;
  readonly values: Int8Array<ArrayBuffer>;
}

/** One ONNX operator on one thread: x [M, K] unsigned bytes times W [K, N] signed bytes, exact int32 sums. */
export class Product {
  readonly #session: ort.InferenceSession;
  readonly #memory: ArrayBufferLike;
  readonly K: number;
  readonly N: number;

  private constructor(session: ort.InferenceSession, memory: ArrayBufferLike, { K, N }: Matrix) {
    this.#session = session;
    this.#memory = memory;
    this.K = K;
    this.N = N;
  }

  /** `exactly`: where the processor's fast instructions would saturate (`productsSaturate`). */
  static async of(matrix: Matrix, memory: ArrayBufferLike, exactly: boolean): Promise<Product> {
    const session = await ort.InferenceSession.create(modelOf(matrix), {
      intraOpNumThreads: 1,
      interOpNumThreads: 1,
      logSeverityLevel: 3,
      extra: { session: { x64quantprecision: exactly ? "1" : "0" } },
    });
    return new Product(session, memory, matrix);
  }

  /** Reads `rows` x K bytes at `from`, writes rows x N sums at `to`: addresses in the memory. */
  async run(rows: number, from: number, to: number): Promise<void> {
    const { K, N } = this;
    const x = new ort.Tensor("uint8", new Uint8Array(this.#memory, from, rows * K) as Uint8Array<ArrayBuffer>, [
      rows,
      K,
    ]);
    const y = new ort.Tensor("int32", new Int32Array(this.#memory, to, rows * N) as Int32Array<ArrayBuffer>, [rows, N]);
    await this.#session.run({ x }, { y });
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}

function modelOf({ K, N, values }: Matrix): Uint8Array {
  const value = (name: string, elemType: number, columns: number) =>
    onnx.ValueInfoProto.create({
      name,
      type: { tensorType: { elemType, shape: { dim: [{ dimParam: "M" }, { dimValue: columns }] } } },
    });
  const rawData = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const model = onnx.ModelProto.create({
    irVersion: IR_VERSION,
    opsetImport: [{ domain: "", version: OPSET }],
    graph: {
      name: "product",
      node: [{ opType: "MatMulInteger", input: ["x", "w"], output: ["y"] }],
      initializer: [{ name: "w", dataType: INT8, dims: [K, N], rawData }],
      input: [value("x", UINT8, K)],
      output: [value("y", INT32, N)],
    },
  });
  return onnx.ModelProto.encode(model).finish();
}

/**
 * Whether products of large bytes come out wrong: x64 processors without VNNI add pairs of products in 16 bits, which
 * is not enough for all of them.
 */
export async function productsSaturate(): Promise<boolean> {
  const K = 64;
  const memory = new ArrayBuffer(K + 4 * 16);
  new Uint8Array(memory, 0, K).fill(255);
  const product = await Product.of({ K, N: 16, values: new Int8Array(K * 16).fill(127) }, memory, false);
  await product.run(1, 0, K);
  await product.release();
  return new Int32Array(memory, K, 16).some((sum) => sum !== K * 255 * 127);
}
