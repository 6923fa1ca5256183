/** What a light proof proves, in words that hold without this program: names of institutions, ids, heights and times. */
import { CID } from 'multiformats/cid'
import { toString } from 'uint8arrays/to-string'
import { CodedError } from '../core/coded-error.ts'
import { accountIdOf } from '../core/ids.ts'
import { ACCOUNT_NAMESPACE } from '../domain/accounts.ts'
import { recordOfStateKey } from '../domain/records.ts'
import type { CheckedProof, Proved, ProvedBlock, ProvedEntry } from '../ledger/proof.ts'
import { cliReport, timeText } from './output.ts'

type Row = readonly [string, string]

/** Longer byte strings, such as wrapped keys, are told by their length. */
const BYTES_SHOWN_MAX = 32
const ID_BYTES = 32

export function proofRows(checked: CheckedProof): Row[] {
  const { block, chain, network, newest, signers, validators } = checked
  const final: Row[] = [
    ['final', blockText(newest)],
    ['signed by', `${signers.join(', ')} (${signers.length} of ${validators} validators)`],
  ]
  return [
    ['proved', provedText(checked.proved, block)],
    ['chain', `${chain} (${network})`],
    ...subjectRows(checked.proved),
    ...(block.id === newest.id
      ? []
      : [['block', `${blockText(block)}; it is in the history of the final one`] as const]),
    ...final,
  ]
}

function blockText({ height, id, timeMs }: ProvedBlock): string {
  return `height ${height}, ${timeText(timeMs)} UTC, ${id}`
}

function provedText(proved: Proved, block: ProvedBlock): string {
  switch (proved.kind) {
    case 'block':
      return 'a block is final'
    case 'transaction':
      return 'a transaction is final, and what became of it'
    case 'state': {
      const [only] = proved.entries
      const what =
        proved.entries.length === 1 && only !== undefined
          ? `${only.present ? '' : 'no '}${entryName(only)}`
          : `${proved.entries.length} entries of the state`
      return `${what}, as of ${timeText(block.timeMs)} UTC; what came later it does not say`
    }
    default:
      return proved satisfies never
  }
}

function subjectRows(proved: Proved): Row[] {
  switch (proved.kind) {
    case 'block':
      return []
    case 'state':
      return proved.entries.flatMap(entryRows)
    case 'transaction': {
      const { receipt, tx } = proved
      const { account, org, payload, type } = tx.body
      return [
        ['transaction', tx.id],
        ['type', type],
        ['account', `${account} of ${org}`],
        ...valueRows(payload),
        ['outcome', receipt.ok ? 'done' : refusalText(receipt.fault)],
      ]
    }
    default:
      return proved satisfies never
  }
}

/** A refusal: its sentence, what to do, and its code. */
export function refusalText(fault: { readonly code: string }): string {
  const { code, sentence, todo } = cliReport(new CodedError(fault))
  return `refused: ${sentence} ${todo} [${code}]`
}

function entryRows(entry: ProvedEntry): Row[] {
  if (!entry.present) return [['absent', entryName(entry)]]
  return [
    ['present', entryName(entry)],
    ['written', entry.version === 0 ? 'in the genesis' : `at height ${entry.version}`],
    ...valueRows(entry.value),
  ]
}

function entryName({ key, namespace }: ProvedEntry): string {
  const record = recordOfStateKey(namespace, key)
  if (record !== undefined) {
    return record.version === undefined ? `record ${record.record}` : `version ${record.version} of ${record.record}`
  }
  return namespace === ACCOUNT_NAMESPACE && key.length === ID_BYTES
    ? `account ${accountIdOf(key)}`
    : `state ${namespace} ${toString(key, 'base16')}`
}

function valueRows(value: unknown): Row[] {
  if (typeof value !== 'object' || value === null || isScalar(value)) return [['  value', plain(value)]]
  return Object.entries(value).map(([name, field]) => [`  ${name}`, fieldText(name, field)])
}

const isScalar = (value: object): boolean => value instanceof Uint8Array || CID.asCID(value) !== null

/** Names that end in Ms are times, here as in all structures of the ledger. */
function fieldText(name: string, field: unknown): string {
  return name.endsWith('Ms') && typeof field === 'number' ? `${timeText(field)} UTC` : plain(field)
}

/** One line for any value of the ledger; control characters of texts are written as JSON writes them. */
function plain(value: unknown): string {
  if (typeof value === 'string') {
    const quoted = JSON.stringify(value)
    return quoted === `"${value}"` ? value : quoted
  }
  if (value instanceof Uint8Array) {
    return value.length > BYTES_SHOWN_MAX ? `${value.length} bytes` : toString(value, 'base16')
  }
  if (typeof value !== 'object' || value === null) return String(value)
  const link = CID.asCID(value)
  if (link !== null) return link.toString()
  if (Array.isArray(value)) return `[${value.map(plain).join(', ')}]`
  return `{${Object.entries(value)
    .map(([name, field]) => `${name}: ${fieldText(name, field)}`)
    .join(', ')}}`
}
