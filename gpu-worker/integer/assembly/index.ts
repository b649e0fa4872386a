/*
 * The kernel: what the model computes between its matrix products. Compiled by AssemblyScript (see ../kernel.ts); one
 * instance per thread over one shared memory. Rows or items [from, to) are a thread's share of the work.
 */
export { attend } from "./attention";
export { moveSlot } from "./cache";
export { activate, features, likeliest, states } from "./drafts";
export { addNormalised } from "./post";
export { addAndNormalise, embed, gate, logits, quantise, splitHeads } from "./rows";
export { configure } from "./shape";
