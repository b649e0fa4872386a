/** Chat prompts of several kinds, written for this benchmark. */
export const PROMPTS: readonly string[] = [
  "Explain in a few paragraphs why the sea is salty.",
  "Write a Python function that returns the n-th Fibonacci number, and explain it.",
  "A train leaves at 9:40 and arrives at 12:25. How long does the journey take? Show each step.",
  "Summarize: The city council met on Monday to discuss the new bridge. Members agreed that the old bridge is unsafe " +
    "for lorries and that repairs would cost more than a new one. Work on the new bridge is to begin in spring and to " +
    "take two years. Until then lorries must use the northern road.",
  "Write a short story about a lighthouse keeper who finds a letter in a bottle.",
  "What are the main differences between cats and dogs as pets?",
];
