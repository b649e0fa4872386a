/** By how many tokens a text may be shorter than its pieces are together, for each cut: far more than any tokenizer's. */
const PER_CUT = 16;

/**
 * Whether the texts certainly have more than `tokens` tokens. They are looked at piece by piece, and only up to where that
 * is certain: to tokenize the whole of a prompt that is far too long would take ten times as long. Texts of less than twice
 * as many characters are not looked at.
 */
export function isTooLong(
  texts: readonly string[],
  tokens: number,
  encode: (text: string) => readonly unknown[],
): boolean {
  if (texts.reduce((sum, text) => sum + text.length, 0) < 2 * tokens) return false;
  let left = tokens;
  for (const text of texts) {
    for (let at = 0; at < text.length; at += tokens) {
      left -= Math.max(0, encode(text.slice(at, at + tokens)).length - PER_CUT);
      if (left < 0) return true;
    }
  }
  return false;
}
