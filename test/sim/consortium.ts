/** The institutions of a simulated world: one genesis for each number of validators, so that all seeds share their signatures. */
import { type ChainId, type InstitutionId, parseInstitutionId } from '../../src/core/ids.ts'
import type { Signer } from '../../src/core/ports.ts'
import { draftAccountCreate } from '../../src/domain/accounts.ts'
import { type MembershipPropose, draftMembershipApprove, draftMembershipPropose } from '../../src/domain/membership.ts'
import { draftRecordAdd } from '../../src/domain/records.ts'
import { chainIdOf, encodeGenesis } from '../../src/ledger/genesis.ts'
import { type DraftTx, type SignedTx, signTx, txBodyOf } from '../../src/ledger/transaction.ts'
import { START_MS, keysOf, makeGenesis, person, signerOf, staff } from '../unit/ledger/network.ts'
import { manifestOf, wrapped } from '../unit/ledger/samples.ts'

export { START_MS } from '../unit/ledger/network.ts'

const NAMES = ['north', 'south', 'east', 'west', 'harbour', 'valley', 'lakeside', 'airport']
/** Within what a transaction may live, and beyond what a world lasts. */
const EXPIRES_MS = START_MS + 20 * 60 * 60 * 1_000

export interface Consortium {
  readonly chain: ChainId
  readonly genesisBytes: Uint8Array
  /** All institutions: the validators first, then one that isn't. */
  readonly institutions: readonly InstitutionId[]
  readonly validators: number
}

const consortia = new Map<number, Consortium>()

export function consortiumOf(validators: number): Consortium {
  const known = consortia.get(validators)
  if (known !== undefined) return known
  const names = NAMES.slice(0, validators + 1)
  const roles = Object.fromEntries(names.map((name) => [name, 'hospital' as const]))
  const genesisBytes = encodeGenesis(makeGenesis(roles, names.slice(0, validators)))
  const institutions = names.map((name) => parseInstitutionId(name))
  const made = { chain: chainIdOf(genesisBytes), genesisBytes, institutions, validators }
  consortia.set(validators, made)
  return made
}

export function consensusSigner(institution: string): Signer {
  return signerOf(`${institution} consensus`)
}

/** Opens the account of a new person. */
export function accountTx(world: Consortium, org: InstitutionId, serial: number): Promise<SignedTx> {
  const name = `${org} person ${serial}`
  const { id, signer } = person(name, org)
  const at = { chain: world.chain, org, account: id, seq: 1, expiresMs: EXPIRES_MS }
  return signTx(txBodyOf(draftAccountCreate(keysOf(name)), at), [signer, staff(org).signer])
}

/** One of a row of transactions of the institution's own account; each needs the one before. */
export function recordTx(world: Consortium, org: InstitutionId, seq: number, serial: number): Promise<SignedTx> {
  const { id, signer } = staff(org)
  const name = `${org} record ${serial}`
  const draft = draftRecordAdd({
    patient: id,
    category: 'imaging',
    manifest: manifestOf(name),
    key: wrapped(name),
  })
  return signTx(txBodyOf(draft, { chain: world.chain, org, account: id, seq, expiresMs: EXPIRES_MS }), [signer])
}

export function proposeTx(
  world: Consortium,
  org: InstitutionId,
  seq: number,
  change: Omit<MembershipPropose, 'expiresMs'>,
): Promise<SignedTx> {
  return adminTx(world, org, seq, draftMembershipPropose({ ...change, expiresMs: EXPIRES_MS }))
}

export function approveTx(
  world: Consortium,
  org: InstitutionId,
  seq: number,
  proposal: SignedTx['id'],
): Promise<SignedTx> {
  return adminTx(world, org, seq, draftMembershipApprove({ proposal }))
}

function adminTx(world: Consortium, org: InstitutionId, seq: number, draft: DraftTx): Promise<SignedTx> {
  const at = { chain: world.chain, org, account: staff(org).id, seq, expiresMs: EXPIRES_MS }
  return signTx(txBodyOf(draft, at), [signerOf(`${org} admin`)])
}
