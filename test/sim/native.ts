/**
 * `#native` for simulations: real Ed25519, whose answers are remembered. Signatures are deterministic, so the four replicas of a
 * world, its second run, and transactions that all worlds share ask the same things again and again.
 */
import * as node from '../../src/crypto/native/node.ts'

export * from '../../src/crypto/native/node.ts'

/** Beyond this, all is forgotten: a world asks a few thousand. */
const REMEMBERED_MAX = 200_000

const signatures = new Map<string, Uint8Array>()
const verdicts = new Map<string, boolean>()
const publicKeys = new Map<string, Uint8Array>()

export function ed25519PublicKey(seed: Uint8Array): Uint8Array {
  return remembered(publicKeys, nameOf(seed), () => node.ed25519PublicKey(seed)).slice()
}

export function ed25519Signer(seed: Uint8Array): (message: Uint8Array) => Uint8Array {
  const sign = node.ed25519Signer(seed)
  const publicKey = ed25519PublicKey(seed)
  const name = nameOf(seed)
  return (message) => {
    const signature = remembered(signatures, name + nameOf(message), () => sign(message))
    verdicts.set(nameOf(publicKey, signature, message), true)
    return signature.slice()
  }
}

export function ed25519Equation(publicKey: Uint8Array, signature: Uint8Array, message: Uint8Array): boolean {
  return remembered(verdicts, nameOf(publicKey, signature, message), () =>
    node.ed25519Equation(publicKey, signature, message),
  )
}

export async function ed25519EquationAside(
  publicKey: Uint8Array,
  signature: Uint8Array,
  message: Uint8Array,
): Promise<boolean> {
  return ed25519Equation(publicKey, signature, message)
}

function remembered<T>(memory: Map<string, T>, name: string, find: () => T): T {
  const known = memory.get(name)
  if (known !== undefined) return known
  if (memory.size >= REMEMBERED_MAX) memory.clear()
  const found = find()
  memory.set(name, found)
  return found
}

function nameOf(...parts: Uint8Array[]): string {
  // Keys and signatures have one length each, and the message comes last: no two lists have one name.
  return parts.map((part) => Buffer.from(part.buffer, part.byteOffset, part.length).toString('latin1')).join('')
}
