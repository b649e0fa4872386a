/** The functions of assembly/, which documents them. Addresses and counts are int32. */
export interface Kernel {
  configure(
    width: number,
    heads: number,
    kvHeads: number,
    headDim: number,
    ffn: number,
    pages: number,
    arena: number,
    context: number,
    epsilon: number,
    headBlock: number,
    ffnBlock: number,
  ): void;
  embed(from: number, to: number, tokens: number, table: number, scales: number, x: number): void;
  addAndNormalise(
    from: number,
    to: number,
    rows: number,
    sums: number,
    starts: number,
    offsets: number,
    columnScales: number,
    scales: number,
    bias: number,
    x: number,
    bytes: number,
    byteScales: number,
  ): void;
  addNormalised(
    from: number,
    to: number,
    rows: number,
    sums: number,
    starts: number,
    offsets: number,
    columnScales: number,
    scales: number,
    bias: number,
    weights: number,
    turn: number,
    power: number,
    scratch: number,
    x: number,
  ): void;
  splitHeads(
    from: number,
    to: number,
    rows: number,
    layer: number,
    sums: number,
    starts: number,
    offsets: number,
    columnScales: number,
    scales: number,
    positions: number,
    slots: number,
    queryScale: number,
    bias: number,
    norms: number,
    angles: number,
    scratch: number,
    queries: number,
    queryScales: number,
  ): void;
  attend(
    from: number,
    to: number,
    layer: number,
    items: number,
    queries: number,
    queryScales: number,
    out: number,
    scratch: number,
    window: number,
    positions: number,
    masksApart: number,
    cap: number,
  ): void;
  quantise(from: number, to: number, source: number, count: number, bytes: number, byteScales: number): void;
  gate(
    from: number,
    to: number,
    rows: number,
    sums: number,
    starts: number,
    offsets: number,
    columnScales: number,
    scales: number,
    bell: number,
    scratch: number,
    bytes: number,
    byteScales: number,
  ): void;
  logits(
    from: number,
    to: number,
    rows: number,
    sums: number,
    starts: number,
    columns: number,
    offsets: number,
    columnScales: number,
    scales: number,
    best: number,
    floats: number,
    cap: number,
  ): void;
  features(
    from: number,
    to: number,
    rows: number,
    sources: number,
    streams: number,
    finals: number,
    bonus: number,
    table: number,
    tableScales: number,
    scratch: number,
    bytes: number,
    byteScales: number,
  ): void;
  activate(
    from: number,
    to: number,
    sessions: number,
    sums: number,
    starts: number,
    offsets: number,
    columnScales: number,
    scales: number,
    columns: number,
    block: number,
    signs: number,
    heads: number,
    gateWeights: number,
    gates: number,
    scratch: number,
    bytes: number,
    byteScales: number,
  ): void;
  states(
    from: number,
    to: number,
    sessions: number,
    sums: number,
    starts: number,
    offsets: number,
    columnScales: number,
    scales: number,
    heads: number,
    bias: number,
    rows: number,
    x: number,
    inverses: number,
    scratch: number,
    bytes: number,
    byteScales: number,
  ): void;
  likeliest(
    from: number,
    to: number,
    rows: number,
    sums: number,
    starts: number,
    columns: number,
    offsets: number,
    columnScales: number,
    scales: number,
    k: number,
    scratch: number,
    best: number,
    logits: number,
    masses: number,
  ): void;
  moveSlot(layers: number, from: number, to: number): void;
}

/** An instance over a shared memory, not configured yet. */
export async function instantiate(code: WebAssembly.Module, memory: WebAssembly.Memory): Promise<Kernel> {
  const abort = () => {
    throw new Error("the kernel aborted");
  };
  const { exports } = await WebAssembly.instantiate(code, { env: { memory, abort } });
  return exports as unknown as Kernel;
}
