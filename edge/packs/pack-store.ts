/** An n-gram pack that a tenant uploaded. */
export interface StoredPack {
  readonly name: string;
  /** Of the file, hex. */
  readonly sha256: string;
  readonly bytes: number;
  readonly order: number;
  readonly ngrams: number;
  /** Hex SHA-256 of the tokenizer whose ids it counts. */
  readonly tokenizer: string;
  /** Unix time, s. */
  readonly created: number;
}

/** Where the packs of one tenant are kept (r2-packs.ts). */
export interface PackStore {
  list(): Promise<readonly StoredPack[]>;
  /** The file; null where it was removed meanwhile. */
  read(pack: StoredPack): Promise<Uint8Array<ArrayBuffer> | null>;
  /** Keeps a pack, in place of the one of its name. false: there are as many as a tenant may have. */
  put(pack: Omit<StoredPack, "created">, bytes: Uint8Array<ArrayBuffer>): Promise<boolean>;
  /** Removes those named, or all of the tenant's where no name is given; how many there were. */
  remove(name: string | null): Promise<number>;
}
