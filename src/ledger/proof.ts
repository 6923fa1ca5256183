/**
 * Light proofs: one document from which anyone can tell, offline and with nothing but the chain's id, that something stands
 * in a final block: a state key with its value or its absence, a transaction with its receipt, or a block itself.
 *
 *   chain id ─hash─► genesis ─validators─► links ─validators─► newest header ─history─► block ─► state, transaction
 *
 * The way of trust: the genesis names the validators of epoch 0. A header with a finalize certificate of trusted validators is
 * trusted; the last header of an epoch names the validators of the next one, and so hands the trust on.
 *
 * **Epochs in which nobody joined or left are skipped.** A certificate of a later epoch is taken from trusted validators T if the
 * document shows the last header P of the epoch before, P names exactly T as the next validators, and P is under the
 * `historyRoot` of the header that the certificate is of. This is as safe as following every epoch: of the q signers at most f are
 * faulty, so one is honest; an honest validator signs only blocks that it executed, on a history that it checked; so P
 * is final, T are indeed the validators of that epoch, and q of them made the header final. To forge it takes q keys of T,
 * as it does to forge the last header of T's own first epoch. So the proof grows with the changes of validators, not with time.
 *
 * Every byte is untrusted. The genesis is held to the chain's id first, so nobody can make a reader check signatures of keys that
 * the consortium doesn't have; the first that fails ends the check.
 *
 * @see docs/spec/light-proof.md; test/vectors/ledger-light-proof.json; proof-maker.ts
 */
import { CodecError, decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { CodedError } from '../core/coded-error.ts'
import type { ChainId, InstitutionId } from '../core/ids.ts'
import {
  BLOCK_TXS_MAX,
  CERTIFICATE_BYTES_MAX,
  GENESIS_BYTES_MAX,
  HEADER_BYTES_MAX,
  PROOF_BYTES_MAX,
  PROOF_ENTRIES_MAX,
  PROOF_HISTORY_PATH_MAX,
  PROOF_LINKS_MAX,
  PROOF_RECEIPT_BYTES_MAX,
  PROOF_STATE_BYTES_MAX,
  PROOF_TX_PATH_MAX,
  PROOF_VALUE_BYTES_MAX,
  TX_LARGE_BYTES_MAX,
} from '../core/limits.ts'
import {
  type Decoded,
  type Decoder,
  byteString,
  integer,
  list,
  literal,
  nullable,
  object,
  optional,
  shapeFault,
} from '../core/schema.ts'
import { leafHash, verifyInclusion } from '../crypto/merkle.ts'
import { finalityFault } from './block-check.ts'
import { decodeCertificate, signersOf } from './certificate.ts'
import { chainIdOfLink, digest } from './fields.ts'
import { GenesisError, type Genesis, chainIdOf, decodeGenesis, genesisCid } from './genesis.ts'
import { type FinalHeader, type Header, decodeHeader, headerId } from './header.ts'
import { type Receipt, decodeReceipt } from './receipt.ts'
import { decodeStateValue } from './state.ts'
import { StateProofError, decodeStateProof, treeKey, verifyStateProof, verifyStateValue } from './state-proof.ts'
import { type SignedTx, decodeEnvelope, namespaceName, stateKeyBytes } from './transaction.ts'
import { type ValidatorSet, sameValidators } from './validators.ts'

export const PROOF_VERSION = 1

export type ProofFault =
  | { code: 'PROOF_MALFORMED'; part: string; problem: string }
  | { code: 'PROOF_OTHER_CHAIN'; part: string; chain: string; expected: string }
  | { code: 'PROOF_GENESIS_NEEDED' }
  | { code: 'PROOF_NOT_FINAL'; part: string; problem: string }
  | { code: 'PROOF_OUT_OF_ORDER'; part: string; problem: string }
  | { code: 'PROOF_NOT_IN_HISTORY'; part: string; height: number }
  | { code: 'PROOF_STATE_WRONG'; entry: number; problem: string }
  | { code: 'PROOF_TX_WRONG'; problem: string }
  | { code: 'PROOF_NOT_YET'; height: number }
  | { code: 'PROOF_TOO_LONG'; what: string; count: number; countMax: number }
export class ProofError extends CodedError<ProofFault> {}

const path = list(digest, 0, PROOF_HISTORY_PATH_MAX)
const headerBytes = byteString(1, HEADER_BYTES_MAX)
/** A header, and its way to the `historyRoot` of a later one. */
const placedHeader = object({ header: headerBytes, path })
const link = object({
  header: headerBytes,
  certificate: byteString(1, CERTIFICATE_BYTES_MAX),
  /** Last header of the epoch before this header's; only where that is later than the validators' own first epoch. */
  since: optional(placedHeader),
})
const entry = object({
  namespace: namespaceName,
  key: stateKeyBytes,
  /** As stored: `[version, value]`; `null` where the key is absent. */
  value: nullable(byteString(1, PROOF_VALUE_BYTES_MAX)),
  proof: byteString(1, PROOF_STATE_BYTES_MAX),
})
const blockSubject = object({ kind: literal('block') })
const stateSubject = object({ kind: literal('state'), entries: list(entry, 1, PROOF_ENTRIES_MAX) })
const txPath = list(digest, 0, PROOF_TX_PATH_MAX)
const txSubject = object({
  kind: literal('transaction'),
  /** Where in the block; of use for the paths only. */
  index: integer(0, BLOCK_TXS_MAX - 1),
  count: integer(1, BLOCK_TXS_MAX),
  envelope: byteString(1, TX_LARGE_BYTES_MAX),
  envelopePath: txPath,
  receipt: byteString(1, PROOF_RECEIPT_BYTES_MAX),
  receiptPath: txPath,
})
type StateSubject = Decoded<typeof stateSubject>
type TxSubject = Decoded<typeof txSubject>
export type ProofSubject = Decoded<typeof blockSubject> | StateSubject | TxSubject

const subject: Decoder<ProofSubject> = (value, at) => {
  const kind: unknown = typeof value === 'object' && value !== null && 'kind' in value ? value.kind : undefined
  if (kind === 'block') return blockSubject(value, at)
  if (kind === 'state') return stateSubject(value, at)
  if (kind === 'transaction') return txSubject(value, at)
  throw shapeFault(`${at}.kind`, 'one of block, state, transaction')
}

const lightProof = object({
  version: literal(PROOF_VERSION),
  /** Canonical bytes; `null` where the reader is known to have them. */
  genesis: nullable(byteString(1, GENESIS_BYTES_MAX)),
  /** The last headers of epochs after which the validators changed, oldest first. */
  links: list(link, 0, PROOF_LINKS_MAX),
  newest: link,
  /** The block that the subject stands in; `null` where that is `newest`. */
  block: nullable(placedHeader),
  subject,
})
export type LightProof = Decoded<typeof lightProof>
export type ProofLink = Decoded<typeof link>
type PlacedHeader = Decoded<typeof placedHeader>

/** A state key that was proved, as of the block. */
export type ProvedEntry = { readonly namespace: string; readonly key: Uint8Array } & (
  | {
      readonly present: true
      /** Height of the block that wrote it last. */
      readonly version: number
      readonly value: unknown
    }
  | { readonly present: false }
)

export type Proved =
  | { readonly kind: 'block' }
  | { readonly kind: 'state'; readonly entries: readonly ProvedEntry[] }
  /** The receipt says what became of the transaction. */
  | { readonly kind: 'transaction'; readonly tx: SignedTx; readonly receipt: Receipt }

/** A block as far as a proof speaks of it. */
export interface ProvedBlock {
  readonly id: string
  readonly height: number
  readonly epoch: number
  readonly view: number
  /** Milliseconds since the Unix epoch, as its validators agreed. */
  readonly timeMs: number
  readonly proposer: InstitutionId
}

export interface CheckedProof {
  readonly chain: ChainId
  /** The consortium's name. */
  readonly network: string
  /** Whose signatures make `newest` final, and out of how many. */
  readonly signers: readonly InstitutionId[]
  readonly validators: number
  /** How often the validators changed between the genesis and `newest`, as far as the proof had to follow. */
  readonly changes: number
  readonly newest: ProvedBlock
  /** The block that the subject stands in: `newest`, or one before it. */
  readonly block: ProvedBlock
  readonly proved: Proved
}

/** @throws {ProofError} `PROOF_TOO_LONG` */
export function encodeProof(proof: LightProof): Uint8Array {
  const bytes = encodeCanonical(proof)
  if (bytes.length > PROOF_BYTES_MAX) {
    throw new ProofError({ code: 'PROOF_TOO_LONG', what: 'bytes', count: bytes.length, countMax: PROOF_BYTES_MAX })
  }
  return bytes
}

/** Reads the frame; nothing in it is checked yet. @throws {ProofError} `PROOF_MALFORMED` */
export function decodeProof(bytes: Uint8Array): LightProof {
  return reading('proof', () => lightProof(decodeCanonical(bytes, PROOF_BYTES_MAX), 'proof'))
}

/**
 * Checks a light proof.
 *
 * @param bytes - untrusted.
 * @param trusted.chainId - all that the reader must know beforehand: the id of the chain, from a source it trusts.
 * @param trusted.genesis - canonical bytes of the genesis, for proofs that come without; held to the chain's id too.
 * @returns what is proved. Whoever asked for something compares it with this: a proof may be of something else.
 * @throws {ProofError} any of its codes but `PROOF_NOT_YET` and `PROOF_TOO_LONG`
 */
export function checkProof(
  bytes: Uint8Array,
  trusted: { readonly chainId: ChainId; readonly genesis?: Uint8Array },
): CheckedProof {
  const { chainId } = trusted
  const proof = decodeProof(bytes)
  const { genesis, set: first } = readGenesis(proof.genesis ?? trusted.genesis, chainId)
  let set = first
  let height = 0
  for (const [index, given] of proof.links.entries()) {
    const part = `links[${index}]`
    const { header, id } = checkLink(given, { part, chainId, set, height })
    if (header.nextValidators === undefined) {
      throw new ProofError({ code: 'PROOF_OUT_OF_ORDER', part, problem: 'not the last header of an epoch' })
    }
    set = { epoch: header.epoch + 1, seed: id.multihash.digest, validators: header.nextValidators }
    height = header.height
  }
  const newest = checkLink(proof.newest, { part: 'newest', chainId, set, height })
  const block =
    proof.block === null ? newest : { ...newest, ...checkPlaced(proof.block, 'block', chainId, newest.header) }
  return {
    chain: chainId,
    network: genesis.name,
    signers: signersOf(newest.certificate.signers).flatMap((signer) => set.validators[signer]?.institution ?? []),
    validators: set.validators.length,
    changes: proof.links.length,
    newest: provedBlock(newest),
    block: provedBlock(block),
    proved: checkSubject(proof.subject, block.header),
  }
}

function checkSubject(given: ProofSubject, header: Header): Proved {
  switch (given.kind) {
    case 'block':
      return { kind: 'block' }
    case 'state':
      return { kind: 'state', entries: given.entries.map((one, index) => checkEntry(one, index, header)) }
    case 'transaction':
      return checkTransaction(given, header)
    default:
      return given satisfies never
  }
}

function readGenesis(
  given: Uint8Array | undefined,
  chainId: ChainId,
): { readonly genesis: Genesis; readonly set: ValidatorSet } {
  if (given === undefined) throw new ProofError({ code: 'PROOF_GENESIS_NEEDED' })
  const chain = chainIdOf(given)
  if (chain !== chainId) throw new ProofError({ code: 'PROOF_OTHER_CHAIN', part: 'genesis', chain, expected: chainId })
  const genesis = reading('genesis', () => decodeGenesis(given))
  return { genesis, set: { epoch: 0, seed: genesisCid(given).multihash.digest, validators: genesis.validators } }
}

type PlainHeader = Pick<FinalHeader, 'header' | 'id'>

/** Whether validators that are trusted made this header final; `trusted.height` is of the header that named them. */
function checkLink(
  given: ProofLink,
  trusted: { readonly part: string; readonly chainId: ChainId; readonly set: ValidatorSet; readonly height: number },
): FinalHeader {
  const { chainId, height, part } = trusted
  const outOfOrder = (problem: string): ProofError => new ProofError({ code: 'PROOF_OUT_OF_ORDER', part, problem })
  const { header, id } = readHeader(given.header, part, chainId)
  if (header.epoch < trusted.set.epoch || header.height <= height) throw outOfOrder('earlier than the one before it')
  let { set } = trusted
  if (given.since === undefined) {
    if (header.epoch !== set.epoch) throw outOfOrder('nothing shows who validates its epoch')
  } else {
    if (header.epoch === set.epoch) throw outOfOrder('its epoch needs no header before it')
    const since = checkPlaced(given.since, `${part}.since`, chainId, header)
    const { nextValidators } = since.header
    if (since.header.epoch !== header.epoch - 1 || nextValidators === undefined) {
      throw outOfOrder('not the last header of the epoch before')
    }
    if (!sameValidators(nextValidators, set.validators)) throw outOfOrder('validators changed without a link')
    set = { epoch: header.epoch, seed: since.id.multihash.digest, validators: nextValidators }
  }
  const certificate = reading(`${part}.certificate`, () => decodeCertificate(given.certificate))
  const final = { id, header, certificate, headerBytes: given.header, certificateBytes: given.certificate }
  const fault = finalityFault(final, chainId, set)
  if (fault !== undefined) {
    const problem = fault.code === 'HEADER_CERTIFICATE_INVALID' ? fault.problem : fault.code
    throw new ProofError({ code: 'PROOF_NOT_FINAL', part, problem })
  }
  return final
}

/** A header in the history of a later one. */
function checkPlaced(given: PlacedHeader, part: string, chainId: ChainId, later: Header): PlainHeader {
  const { header, id } = readHeader(given.header, part, chainId)
  const { height } = header
  if (!verifyInclusion(later.historyRoot, later.height, height, leafHash(id.multihash.digest), given.path)) {
    throw new ProofError({ code: 'PROOF_NOT_IN_HISTORY', part, height })
  }
  return { header, id }
}

function readHeader(bytes: Uint8Array, part: string, chainId: ChainId): PlainHeader {
  const header = reading(part, () => decodeHeader(bytes))
  const chain = chainIdOfLink(header.chain)
  if (chain !== chainId) throw new ProofError({ code: 'PROOF_OTHER_CHAIN', part, chain, expected: chainId })
  return { header, id: headerId(bytes) }
}

function checkEntry(given: StateSubject['entries'][number], index: number, header: Header): ProvedEntry {
  const { key, namespace, value } = given
  const part = `entries[${index}]`
  const proof = reading(`${part}.proof`, () => decodeStateProof(given.proof))
  const at = treeKey(namespace, key)
  const wrong = (problem: string, cause?: unknown): ProofError =>
    new ProofError({ code: 'PROOF_STATE_WRONG', entry: index, problem }, { cause })
  try {
    if (value !== null) verifyStateValue(header.stateRoot, at, value, proof)
    else if (verifyStateProof(header.stateRoot, at, proof) !== undefined) throw wrong('the key is present')
  } catch (error) {
    if (error instanceof StateProofError) throw wrong(error.fault.code, error)
    throw error
  }
  if (value === null) return { namespace, key, present: false }
  return { namespace, key, present: true, ...reading(`${part}.value`, () => decodeStateValue(value)) }
}

function checkTransaction(given: TxSubject, header: Header): Proved {
  const { count, envelope, envelopePath, index, receiptPath } = given
  const tx = reading('envelope', () => decodeEnvelope(envelope))
  const receipt = reading('receipt', () => decodeReceipt(given.receipt))
  const wrong = (problem: string): ProofError => new ProofError({ code: 'PROOF_TX_WRONG', problem })
  if (!verifyInclusion(header.txRoot, count, index, leafHash(envelope), envelopePath)) {
    throw wrong('the transaction is not in the block')
  }
  if (!verifyInclusion(header.receiptsRoot, count, index, leafHash(given.receipt), receiptPath)) {
    throw wrong('the receipt is not in the block')
  }
  // What binds the two is the id in the receipt, not the place: a tree's size isn't part of its root.
  if (receipt.tx !== tx.id) throw wrong('the receipt is of another transaction')
  return { kind: 'transaction', tx, receipt }
}

function provedBlock({ header, id }: PlainHeader): ProvedBlock {
  const { epoch, height, proposer, timeMs, view } = header
  return { id: id.toString(), height, epoch, view, timeMs, proposer }
}

/** Whatever doesn't decode is the proof's fault: which part of it, and why. */
function reading<T>(part: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof CodecError || error instanceof GenesisError)) throw error
    const { fault } = error
    const problem = 'path' in fault ? `${fault.code} at ${fault.path}` : fault.code
    throw new ProofError({ code: 'PROOF_MALFORMED', part, problem }, { cause: error })
  }
}
