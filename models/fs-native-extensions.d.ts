declare module "fs-native-extensions" {
  /** Takes an exclusive lock on a file open for writing, until it is closed; false where another open file has it. */
  export function tryLock(fd: number): boolean;
}
