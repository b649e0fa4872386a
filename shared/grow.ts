/** A larger typed array starting with the smaller one's contents. */
export function copyInto<T extends { set(from: T): void }>(larger: T, from: T): T {
  larger.set(from);
  return larger;
}
