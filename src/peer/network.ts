/** Making a consortium: a template of institutions and the public identities of their peers become the genesis. */
import { readFile } from 'node:fs/promises'
import { type ParseError, parse as parseJsonc } from 'jsonc-parser'
import { type Genesis, chainIdOf, encodeGenesis, genesisJson, parseGenesisJson } from '../ledger/genesis.ts'
import { PeerError } from './faults.ts'
import type { PublicIdentity } from './identity.ts'

/** What the template says of an institution; its keys come from its identity. */
interface TemplateInstitution {
  readonly id: string
  readonly name: string
  readonly role: string
  /** Peer ids besides the daemon's own, such as of an IPFS program. */
  readonly extraPeers?: readonly string[]
}

interface Template {
  readonly name: string
  readonly institutions: readonly TemplateInstitution[]
  readonly validators: readonly string[]
  /** Parameters of storage; see docs/spec/genesis.md. */
  readonly storage?: unknown
}

/**
 * Merges a template with identities.
 *
 * @param extraPeers - further peer ids by institution.
 * @returns the genesis, its JSON form, and the id of the new chain.
 * @throws {PeerError} `TEMPLATE_INVALID`, `GENESIS_UNREADABLE`; {GenesisError}; {CodecError} `CODEC_SHAPE`
 */
export async function makeGenesis(
  templateFile: string,
  identities: readonly PublicIdentity[],
  options: { nowMs: number; extraPeers: ReadonlyMap<string, readonly string[]> },
): Promise<{ genesis: Genesis; json: string; chain: string }> {
  const template = await readTemplate(templateFile)
  const identityOf = (id: string): PublicIdentity => {
    const found = identities.find((one) => one.institution === id)
    if (found === undefined) throw invalid(templateFile, `there is no identity for institution ${id}`)
    return found
  }
  const institutions = template.institutions.map(({ id, name, role, extraPeers = [] }) => {
    const { account, adminKey, peer } = identityOf(id)
    return { id, name, role, adminKey, account, peers: [peer, ...extraPeers, ...(options.extraPeers.get(id) ?? [])] }
  })
  const validators = template.validators.map((institution) => ({
    institution,
    key: identityOf(institution).consensusKey,
  }))
  const { name, storage } = template
  const genesis = parseGenesisJson(
    JSON.stringify({ version: 1, name, timeMs: options.nowMs, institutions, validators, storage }),
  )
  return { genesis, json: genesisJson(genesis), chain: chainIdOf(encodeGenesis(genesis)) }
}

async function readTemplate(file: string): Promise<Template> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    throw new PeerError({ code: 'GENESIS_UNREADABLE', file }, { cause: error })
  }
  const errors: ParseError[] = []
  const value = parseJsonc(text, errors, { allowTrailingComma: true }) as Partial<Template> | undefined
  if (errors.length > 0) throw invalid(file, 'it is not JSON with comments')
  const { name, institutions, storage, validators } = value ?? {}
  if (typeof name !== 'string') throw invalid(file, 'name must be a text')
  if (!Array.isArray(institutions) || institutions.length === 0) throw invalid(file, 'institutions must be a list')
  if (!Array.isArray(validators) || validators.length === 0) throw invalid(file, 'validators must be a list')
  return { name, institutions, validators, ...(storage === undefined ? {} : { storage }) }
}

function invalid(file: string, problem: string): PeerError {
  return new PeerError({ code: 'TEMPLATE_INVALID', file, problem })
}
