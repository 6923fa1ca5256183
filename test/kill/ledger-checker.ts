/**
 * An independent judge of what real daemons agreed on: one chain, certificates that hold, no acknowledged transaction lost or
 * done twice, no double vote. Written from docs/spec alone, over node:crypto and @ipld/dag-cbor: it shares no code with what it
 * checks, so that one mistake can't hide in both.
 *
 * It sees what a stranger sees: the HTTP API, and copies of the vote logs. Answers are DAG-JSON of decoded structures; encoded
 * again they must have the hashes that are claimed, so the API's own decoding is checked with them.
 */
import { createHash, createPublicKey, verify } from 'node:crypto'
import * as dagCbor from '@ipld/dag-cbor'
import * as dagJson from '@ipld/dag-json'
import { base32 } from 'multiformats/bases/base32'
import { CID } from 'multiformats/cid'
import type { ReadVoteLog, SignedVote } from './vote-log-reader.ts'

export interface CheckedValidator {
  readonly institution: string
  readonly key: Uint8Array
}

export interface SeenCertificate {
  readonly epoch: number
  readonly view: number
  readonly kind: SignedVote['kind']
  readonly block?: CID
  readonly signers: Uint8Array
  readonly sigs: readonly Uint8Array[]
}

/** Fields of a header that are judged; others are covered by its hash. */
export interface SeenHeader {
  readonly chain: CID
  readonly epoch: number
  readonly view: number
  readonly height: number
  readonly parent: CID
  readonly parentView: number
  readonly timeMs: number
  readonly body: CID
  readonly stateRoot: Uint8Array
  readonly receiptsRoot: Uint8Array
  readonly nextValidators?: readonly CheckedValidator[]
}

export interface SeenReceipt {
  readonly tx: string
  readonly ok: boolean
}

export interface SeenBlock {
  readonly id: CID
  readonly header: SeenHeader
  readonly certificate: SeenCertificate
  readonly body: {
    readonly txs: readonly Uint8Array[]
    readonly justify: {
      readonly parentCert: SeenCertificate | null
      readonly nullifyCerts: readonly SeenCertificate[]
    }
  }
  readonly receipts: readonly SeenReceipt[]
}

export interface SeenPeer {
  readonly name: string
  readonly head: { readonly height: number; readonly block: CID; readonly stateRoot: Uint8Array }
  /** From height 1 to the head. */
  readonly blocks: readonly SeenBlock[]
}

/** What a client was told by some daemon. */
export interface Acknowledged {
  readonly tx: string
  readonly height: number
  readonly ok: boolean
}

export interface Evidence {
  /** Chain id, as text. */
  readonly chain: string
  /** Of the genesis. */
  readonly validators: readonly CheckedValidator[]
  readonly peers: readonly SeenPeer[]
  readonly acknowledged: readonly Acknowledged[]
  /** Copies of any age, several of one validator too: a log forgets what is final. */
  readonly voteLogs: readonly ReadVoteLog[]
}

/** SubjectPublicKeyInfo of Ed25519 (RFC 8410) up to the key. */
const SPKI_HEAD = Buffer.from('302a300506032b6570032100', 'hex')

/** Everything that is wrong, one sentence each; nothing when all holds. */
export function checkLedger(evidence: Evidence): string[] {
  const wrong: string[] = []
  const votes = new VoteBook(wrong)
  const epochs = new Map([[0, evidence.validators]])
  for (const peer of evidence.peers) checkChain(peer, evidence.chain, epochs, votes, wrong)
  checkAgreement(evidence.peers, wrong)
  checkAcknowledged(evidence, wrong)
  for (const log of evidence.voteLogs) checkLog(log, evidence.chain, epochs, votes, wrong)
  return wrong
}

/**
 * Reads a daemon's whole chain over HTTP.
 *
 * @param api - such as `http://127.0.0.1:8080/api/v1`.
 * @param token - of the API.
 */
export async function seePeer(name: string, api: string, token: string): Promise<SeenPeer> {
  const get = async <T>(path: string): Promise<T> => {
    const answer = await fetch(`${api}${path}`, { headers: { authorization: `Bearer ${token}` } })
    if (!answer.ok) throw new Error(`${name} ${path}: HTTP ${answer.status} ${await answer.text()}`)
    return dagJson.decode<T>(new Uint8Array(await answer.arrayBuffer()))
  }
  const head = await get<SeenPeer['head']>('/ledger/head')
  const blocks: SeenBlock[] = []
  for (let height = 1; height <= head.height; height++) blocks.push(await get<SeenBlock>(`/ledger/blocks/${height}`))
  return { name, head, blocks }
}

function checkChain(
  peer: SeenPeer,
  chain: string,
  epochs: Map<number, readonly CheckedValidator[]>,
  votes: VoteBook,
  wrong: string[],
): void {
  let parent: SeenBlock | undefined
  for (const [index, block] of peer.blocks.entries()) {
    const { body, certificate, header, id } = block
    const complain = (what: string): void => void wrong.push(`${peer.name}, height ${index + 1}: ${what}`)
    if (!cidOf(header).equals(id)) complain('the id is not the hash of the header')
    if (!cidOf(body).equals(header.body)) complain('the body is not the one of the header')
    if (header.chain.toString() !== chain) complain('of another chain')
    if (header.height !== index + 1) complain(`has height ${header.height}`)
    if (header.parent.toString() !== (parent?.id.toString() ?? chain)) complain('does not follow the block before')
    if (header.parentView !== (parent?.header.view ?? 0)) complain('names another view of its parent')
    if (parent !== undefined && header.timeMs <= parent.header.timeMs) complain('is not later than the block before')
    const ends = parent?.header.nextValidators !== undefined
    const epoch = (parent?.header.epoch ?? 0) + (ends ? 1 : 0)
    if (header.epoch !== epoch) complain(`is of epoch ${header.epoch}, not ${epoch}`)
    const validators = epochs.get(epoch) ?? []
    if (!merkleRoot(block.receipts.map((receipt) => dagCbor.encode(receipt))).equals(header.receiptsRoot)) {
      complain('the receipts are not those of the header')
    }
    const isLast = index === peer.blocks.length - 1
    if (certificate.kind === 'nullify' || (isLast && certificate.kind !== 'finalize')) complain('is not final')
    checkCertificate({ certificate, of: block, chain, validators }, votes, complain)
    checkJustification(block, parent, { chain, epochs }, votes, complain)
    if (header.nextValidators !== undefined) epochs.set(epoch + 1, header.nextValidators)
    parent = block
  }
  const head = peer.blocks.at(-1)
  if (peer.head.height !== peer.blocks.length || !(head === undefined || head.id.equals(peer.head.block))) {
    wrong.push(`${peer.name}: the head is not the last block`)
  }
  if (head !== undefined && !equal(head.header.stateRoot, peer.head.stateRoot)) {
    wrong.push(`${peer.name}: the state is not that of the newest header`)
  }
}

/** The parent's certificate, and one nullify certificate for each view between. */
function checkJustification(
  block: SeenBlock,
  parent: SeenBlock | undefined,
  given: { readonly chain: string; readonly epochs: ReadonlyMap<number, readonly CheckedValidator[]> },
  votes: VoteBook,
  complain: (what: string) => void,
): void {
  const { nullifyCerts, parentCert } = block.body.justify
  const { chain, epochs } = given
  if (parent === undefined || parentCert === null) {
    if (parent !== undefined || parentCert !== null) complain('has the wrong certificate for its parent')
  } else {
    const validators = epochs.get(parent.header.epoch) ?? []
    checkCertificate({ certificate: parentCert, of: parent, chain, validators }, votes, complain)
    if (parent.header.nextValidators !== undefined && parentCert.kind !== 'finalize') {
      complain('begins an epoch on a block that is not final')
    }
  }
  const between = block.header.view - block.header.parentView - 1
  const views = nullifyCerts.map(({ view }) => view)
  if (views.length !== between || views.some((view, index) => view !== block.header.parentView + 1 + index)) {
    complain('lacks nullify certificates for the views since its parent')
  }
  for (const certificate of nullifyCerts) {
    if (certificate.kind !== 'nullify' || certificate.epoch !== block.header.epoch)
      complain('skips a view by no nullify')
    checkCertificate({ certificate, chain, validators: epochs.get(block.header.epoch) ?? [] }, votes, complain)
  }
}

/** @param given.of - the block that it must be for; undefined for a nullify certificate. */
function checkCertificate(
  given: {
    readonly certificate: SeenCertificate
    readonly of?: SeenBlock
    readonly chain: string
    readonly validators: readonly CheckedValidator[]
  },
  votes: VoteBook,
  complain: (what: string) => void,
): void {
  const { certificate, chain, of, validators } = given
  const { block, epoch, kind, signers, sigs, view } = certificate
  if (of !== undefined) {
    const { header, id } = of
    // A block that ends its epoch is proposed again until it is final.
    const viewFits = header.nextValidators === undefined ? view === header.view : view >= header.view
    if (block === undefined || !block.equals(id) || epoch !== header.epoch || !viewFits || kind === 'nullify') {
      complain(`a ${kind} certificate is for something else`)
    }
  }
  const faulty = Math.floor((validators.length - 1) / 3)
  const indexes = [...signers].flatMap((byte, offset) =>
    [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => (byte >> bit) & 1).map((bit) => offset * 8 + bit),
  )
  if (indexes.length !== validators.length - faulty || sigs.length !== indexes.length) {
    complain(
      `a ${kind} certificate has ${indexes.length} signers and ${sigs.length} signatures of ${validators.length}`,
    )
  }
  for (const [index, signer] of indexes.entries()) {
    const key = validators[signer]?.key
    const sig = sigs[index]
    const vote = { epoch, view, kind, ...(block === undefined ? {} : { block }) }
    if (key === undefined || sig === undefined || !isSigned(vote, key, sig, chain)) {
      complain(`a ${kind} certificate holds a signature that validator ${signer} didn't make`)
    } else votes.note(key, vote)
  }
}

function checkAgreement(peers: readonly SeenPeer[], wrong: string[]): void {
  const first = new Map<number, { readonly peer: SeenPeer; readonly block: SeenBlock }>()
  for (const peer of peers) {
    for (const [index, block] of peer.blocks.entries()) {
      const other = first.get(index)
      if (other === undefined) first.set(index, { peer, block })
      else if (!other.block.id.equals(block.id)) {
        wrong.push(`height ${index + 1}: ${other.peer.name} and ${peer.name} have different blocks`)
      } else if (!equal(other.block.header.stateRoot, block.header.stateRoot)) {
        wrong.push(`height ${index + 1}: ${other.peer.name} and ${peer.name} have different states`)
      }
    }
  }
}

function checkAcknowledged({ acknowledged, peers }: Evidence, wrong: string[]): void {
  for (const { blocks, head, name } of peers) {
    const places = new Map<string, { readonly height: number; readonly receipt: SeenReceipt | undefined }[]>()
    for (const [index, { body, receipts }] of blocks.entries()) {
      if (receipts.length !== body.txs.length) wrong.push(`${name}, height ${index + 1}: not one receipt for each tx`)
      for (const [position, envelope] of body.txs.entries()) {
        const tx = txIdOf(envelope)
        if (receipts[position]?.tx !== tx) wrong.push(`${name}, height ${index + 1}: the receipt of ${tx} is another's`)
        places.set(tx, [...(places.get(tx) ?? []), { height: index + 1, receipt: receipts[position] }])
      }
    }
    for (const [tx, found] of places) if (found.length > 1) wrong.push(`${name}: ${tx} is in the chain twice`)
    for (const { height, ok, tx } of acknowledged) {
      const found = places.get(tx)?.[0]
      // A peer may be behind; what it has must hold.
      if (found === undefined && height <= head.height) wrong.push(`${name}: ${tx} was acknowledged and is lost`)
      if (found !== undefined && (found.height !== height || found.receipt?.ok !== ok)) {
        wrong.push(`${name}: ${tx} was acknowledged at height ${height} with another outcome`)
      }
    }
  }
  const highest = Math.max(0, ...peers.map(({ head }) => head.height))
  for (const { height, tx } of acknowledged) {
    if (height > highest) wrong.push(`${tx} was acknowledged at height ${height}, which no peer has`)
  }
}

function checkLog(
  log: ReadVoteLog,
  chain: string,
  epochs: ReadonlyMap<number, readonly CheckedValidator[]>,
  votes: VoteBook,
  wrong: string[],
): void {
  if (log.chain !== chain) wrong.push(`a vote log is of another chain: ${log.chain}`)
  for (const { signer, sig, ...vote } of log.votes) {
    const key = epochs.get(vote.epoch)?.[signer]?.key
    if (key === undefined || !equal(key, log.key) || !isSigned(vote, log.key, sig, chain)) {
      wrong.push(`a vote log holds a vote that isn't its owner's: ${nameOf(vote)}`)
    } else votes.note(log.key, vote)
  }
}

type Ballot = Omit<SignedVote, 'signer' | 'sig'>

const nameOf = ({ block, epoch, kind, view }: Ballot): string =>
  `${kind} ${block ?? ''} in view ${view} of epoch ${epoch}`

/** All that each key is known to have signed. */
class VoteBook {
  readonly #wrong: string[]
  readonly #ballots = new Map<string, Ballot[]>()

  constructor(wrong: string[]) {
    this.#wrong = wrong
  }

  note(key: Uint8Array, ballot: Ballot): void {
    const owner = Buffer.from(key).toString('hex')
    const place = `${owner} ${ballot.epoch} ${ballot.view}`
    const earlier = this.#ballots.get(place) ?? []
    if (earlier.some((one) => nameOf(one) === nameOf(ballot))) return
    for (const one of earlier) {
      const kinds = [one.kind, ballot.kind]
      const conflict = kinds.includes('nullify')
        ? kinds.includes('finalize')
        : one.block?.toString() !== ballot.block?.toString()
      if (conflict) this.#wrong.push(`double vote of ${owner.slice(0, 8)}: ${nameOf(one)}, ${nameOf(ballot)}`)
    }
    this.#ballots.set(place, [...earlier, ballot])
  }
}

function isSigned({ block, epoch, kind, view }: Ballot, key: Uint8Array, sig: Uint8Array, chain: string): boolean {
  const publicKey = createPublicKey({ key: Buffer.concat([SPKI_HEAD, key]), format: 'der', type: 'spki' })
  const ballot = dagCbor.encode(block === undefined ? { epoch, view } : { epoch, view, block })
  return verify(null, Buffer.concat([Buffer.from(`apotheca/${kind}/1${chain}`), ballot]), publicKey, sig)
}

function sha256(...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

/** CIDv1, dag-cbor, sha2-256: the head is version, codec, hash and length. */
function cidOf(value: unknown): CID {
  return CID.decode(Buffer.concat([Buffer.from([0x01, 0x71, 0x12, 0x20]), sha256(dagCbor.encode(value))]))
}

function txIdOf(envelope: Uint8Array): string {
  const { body } = dagCbor.decode<{ readonly body: Uint8Array }>(envelope)
  return `tx1${base32.baseEncode(sha256(body))}`
}

/** RFC 6962, section 2.1. */
function merkleRoot(leaves: readonly Uint8Array[]): Buffer {
  const [only] = leaves
  if (only === undefined) return sha256()
  if (leaves.length === 1) return sha256(Buffer.from([0]), only)
  const left = 2 ** Math.ceil(Math.log2(leaves.length) - 1)
  return sha256(Buffer.from([1]), merkleRoot(leaves.slice(0, left)), merkleRoot(leaves.slice(left)))
}

const equal = (one: Uint8Array, other: Uint8Array): boolean => Buffer.compare(one, other) === 0
