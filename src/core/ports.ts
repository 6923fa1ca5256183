/**
 * Ports: how the pure folders reach time, the log, keys and storage. Production gives them the machine's; a simulation gives
 * them its own.
 */

/** Wall-clock time. Consensus and the ledger use block time wherever a verdict depends on it. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  nowMs(): number
}

/** Structured log. Fields never hold patient data, keys, or file names. */
export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** A signing key that may live in a keystore, a browser, or a hardware token. */
export interface Signer {
  /** Raw Ed25519 public key, 32 bytes. */
  readonly publicKey: Uint8Array
  /** @returns a raw Ed25519 signature, 64 bytes, over exactly `message`. */
  sign(message: Uint8Array): Promise<Uint8Array>
}

/** One change of a key-value batch; `value: undefined` deletes the key. */
export interface KeyChange {
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
}

/** An ordered key-value store, keys compared bytewise. Implemented on classic-level and in memory; one contract suite. */
export interface KeyValueStore {
  get(key: Uint8Array): Promise<Uint8Array | undefined>
  /** All changes or none; durable when the promise settles. */
  batch(changes: readonly KeyChange[]): Promise<void>
  /** Entries with `from <= key < to`, in key order (descending with `reverse`), at most `limit`. */
  range(options: {
    from: Uint8Array
    to: Uint8Array
    reverse?: boolean
    limit?: number
  }): AsyncIterable<{ key: Uint8Array; value: Uint8Array }>
  close(): Promise<void>
}
