/**
 * One-click prompts, some with a form of the answer (answer-form.js). The texts were written for this page.
 *
 * @type {{ name: string, prompt: string, form?: string }[]}
 */
export const EXAMPLES = [
  {
    name: "Summarise",
    prompt: `Summarise this in two sentences:

The tide mill at the mouth of the estuary is one of the last of its kind that still turns. Twice a day the rising sea fills a pond of four hectares through a gate that the water itself pushes open; when the tide falls, the gate shuts, and the trapped water has only one way out, under the wheel. The millers never worked by the clock but by the moon, and began an hour later every day. Since the restoration the mill has ground about ten tonnes of wheat a year for three bakeries in the town, and a small generator on the same shaft lights the building.`,
  },
  { name: "Code", prompt: "Write a Python function that returns the n-th Fibonacci number, with a docstring." },
  { name: "Chat", prompt: "I am packing for a three-day hike in the mountains. What should I bring?" },
  {
    name: "Maths",
    prompt:
      "A baker makes 12 loaves an hour for 7 hours and sells each loaf for 3 dollars. How much does she earn? Explain step by step.",
  },
  {
    name: "JSON",
    form: "schema",
    prompt: "Anna Weber is 30 years old, lives in Berlin and works there as a nurse. She speaks German and Polish.",
  },
  { name: "Tool", form: "tools", prompt: "How is the weather in Rome?" },
];
