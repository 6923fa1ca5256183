/**
 * Proofs that a key of the state has a value, or none. Pure: a court checks them with a state root and nothing else.
 *
 * The tree is binary over 256-bit keys, most significant bit first: leaf = H(0x00 || key || H(value)), inner =
 * H(0x01 || left || right), a subtree of one leaf is that leaf, an empty subtree is 32 zero bytes. A proof is the siblings on
 * the way down, and the leaf that the way ends at, if any. For a key that is absent the way ends at nothing, or at the leaf
 * of another key that shares the bits passed.
 *
 * @see docs/spec/state-tree.md; test/vectors/ledger-state-tree.json
 */
import { concat } from 'uint8arrays/concat'
import { equals } from 'uint8arrays/equals'
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { CodedError } from '../core/coded-error.ts'
import { type Decoder, list, nullable, object } from '../core/schema.ts'
import { sha256 } from '../crypto/hash.ts'
import { digest } from './fields.ts'

export const TREE_DEPTH = 256
export const EMPTY_ROOT: Uint8Array = new Uint8Array(32)

export interface StateProof {
  /** From the root down; `null` is an empty subtree. */
  readonly siblings: readonly (Uint8Array | null)[]
  /** The leaf at the end of the way, or `null` where the subtree is empty. */
  readonly leaf: { readonly key: Uint8Array; readonly valueHash: Uint8Array } | null
}

export type StateProofFault =
  | { code: 'STATE_PROOF_ROOT_WRONG' }
  | { code: 'STATE_PROOF_OTHER_PATH' }
  | { code: 'STATE_PROOF_VALUE_WRONG' }
export class StateProofError extends CodedError<StateProofFault> {}

const HASH_BYTES = 32
/** What is hashed: a prefix that tells the two apart, and two hashes. Written over each time: these are hashed by the million. */
const LEAF_INPUT = new Uint8Array(1 + 2 * HASH_BYTES).fill(0x00, 0, 1)
const INNER_INPUT = new Uint8Array(1 + 2 * HASH_BYTES).fill(0x01, 0, 1)
/** 256 siblings of 34 bytes, and a leaf. */
const PROOF_BYTES_MAX = 16 * 1024
const utf8 = new TextEncoder()
/** A chain has about twenty namespaces; other names, such as a proof may hold, are not kept. */
const NAMESPACES_KEPT_MAX = 64
const namespacesKept = new Map<string, Uint8Array>()

const stateProof: Decoder<StateProof> = object({
  siblings: list(nullable(digest), 0, TREE_DEPTH),
  leaf: nullable(object({ key: digest, valueHash: digest })),
})

/**
 * Where a key stands in the tree: SHA-256 of the namespace's length in one byte, the namespace, and the key. The length
 * makes it unambiguous: no two pairs of namespace and key are hashed from the same bytes.
 *
 * @param namespace - 1 to 32 ASCII characters.
 */
export function treeKey(namespace: string, key: Uint8Array): Uint8Array {
  const name = namespacePrefix(namespace)
  const input = new Uint8Array(name.length + key.length)
  input.set(name)
  input.set(key, name.length)
  return sha256(input)
}

/** The length of a namespace in one byte, and its name: what its keys begin with where they are hashed or stored. */
export function namespacePrefix(namespace: string): Uint8Array {
  const known = namespacesKept.get(namespace)
  if (known !== undefined) return known
  const name = utf8.encode(namespace)
  const prefix = concat([new Uint8Array([name.length]), name])
  if (namespacesKept.size < NAMESPACES_KEPT_MAX) namespacesKept.set(namespace, prefix)
  return prefix
}

export function treeLeafHash(key: Uint8Array, valueHash: Uint8Array): Uint8Array {
  return hashOfTwo(LEAF_INPUT, key, valueHash)
}

export function treeInnerHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return hashOfTwo(INNER_INPUT, left, right)
}

/** @param first - 32 bytes, as is `second`: fewer would leave something of the last call. */
function hashOfTwo(input: Uint8Array, first: Uint8Array, second: Uint8Array): Uint8Array {
  if (first.length !== HASH_BYTES || second.length !== HASH_BYTES) throw new RangeError('a hash has 32 bytes')
  input.set(first, 1)
  input.set(second, 1 + HASH_BYTES)
  return sha256(input)
}

/** Bit `depth` of a tree key, the most significant first. */
export function treeBit(key: Uint8Array, depth: number): 0 | 1 {
  return (((key[depth >> 3] ?? 0) >> (7 - (depth & 7))) & 1) === 0 ? 0 : 1
}

export function encodeStateProof(proof: StateProof): Uint8Array {
  return encodeCanonical(proof)
}

/** @throws {CodecError} */
export function decodeStateProof(bytes: Uint8Array): StateProof {
  return stateProof(decodeCanonical(bytes, PROOF_BYTES_MAX), 'proof')
}

/**
 * Checks a proof against a root.
 *
 * @param root - of a final header.
 * @param key - from `treeKey`.
 * @param proof - untrusted, decoded.
 * @returns SHA-256 of the value's bytes, or `undefined`: the key is proved to be absent.
 * @throws {StateProofError} `STATE_PROOF_ROOT_WRONG`, `STATE_PROOF_OTHER_PATH`
 */
export function verifyStateProof(root: Uint8Array, key: Uint8Array, proof: StateProof): Uint8Array | undefined {
  const { leaf, siblings } = proof
  let hash = leaf === null ? EMPTY_ROOT : treeLeafHash(leaf.key, leaf.valueHash)
  for (let depth = siblings.length - 1; depth >= 0; depth--) {
    const sibling = siblings[depth] ?? EMPTY_ROOT
    hash = treeBit(key, depth) === 0 ? treeInnerHash(hash, sibling) : treeInnerHash(sibling, hash)
  }
  if (!equals(hash, root)) throw new StateProofError({ code: 'STATE_PROOF_ROOT_WRONG' })
  if (leaf === null) return undefined
  if (equals(leaf.key, key)) return leaf.valueHash
  // Another leaf proves absence only where it stands on this key's own way.
  for (let depth = 0; depth < siblings.length; depth++) {
    if (treeBit(leaf.key, depth) !== treeBit(key, depth)) throw new StateProofError({ code: 'STATE_PROOF_OTHER_PATH' })
  }
  return undefined
}

/**
 * Checks that a key has exactly this value.
 *
 * @param valueBytes - as stored: see `state.ts`, `encodeStateValue`.
 * @throws {StateProofError} also `STATE_PROOF_VALUE_WRONG`
 */
export function verifyStateValue(root: Uint8Array, key: Uint8Array, valueBytes: Uint8Array, proof: StateProof): void {
  const proved = verifyStateProof(root, key, proof)
  if (proved === undefined || !equals(proved, sha256(valueBytes))) {
    throw new StateProofError({ code: 'STATE_PROOF_VALUE_WRONG' })
  }
}
