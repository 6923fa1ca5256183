/** `ledger proof | check`, `tx show | wait`: what is final, and how anyone can tell. */
import { open, writeFile } from 'node:fs/promises'
import { Argument, type Command, InvalidArgumentError } from 'commander'
import { equals } from 'uint8arrays/equals'
import { CodedError } from '../core/coded-error.ts'
import { type ChainId, parseAccountId, parseRecordId, parseTxId } from '../core/ids.ts'
import { GENESIS_BYTES_MAX, PROOF_BYTES_MAX, STATE_KEY_BYTES_MAX, TX_WAIT_MS_MAX } from '../core/limits.ts'
import { accountStateKey } from '../domain/accounts.ts'
import { recordStateKeys } from '../domain/records.ts'
import { chainIdOf, encodeGenesis, parseGenesisJson } from '../ledger/genesis.ts'
import { type CheckedProof, checkProof } from '../ledger/proof.ts'
import { fromString } from 'uint8arrays/from-string'
import { CliError } from './faults.ts'
import type { ReceiptAnswer } from './ledger-answers.ts'
import { bytesText, cliReport, print } from './output.ts'
import { proofRows, refusalText } from './proof-words.ts'
import { run, withPeer } from './session.ts'
import { waitReceipt } from './submit.ts'

const KINDS = ['record', 'account', 'tx', 'state', 'block'] as const
type Kind = (typeof KINDS)[number]

/** What is asked for: where the peer gives its proof, and whether a proof is of it. */
interface Asked {
  readonly route: string
  readonly isProvedBy: (checked: CheckedProof) => boolean
}

export function ledgerCommands(program: Command): void {
  const ledger = program.command('ledger').summary('proofs of what the ledger holds')

  ledger
    .command('proof')
    .summary('write a proof that anyone can check without a peer')
    .description(
      'Writes one file that proves what the ledger holds, or that it holds no such thing, as of its newest final block.',
    )
    .addArgument(new Argument('<kind>', 'what to prove').choices(KINDS))
    .argument('<name...>', 'its id; the height of a block; namespace and key in hex of a state entry')
    .requiredOption('--out <file>', 'file to write')
    .option('--force', 'overwrite the file', false)
    .addHelpText(
      'after',
      '\nExamples:\n  apotheca ledger proof record rec1… --out record.proof\n' +
        '  apotheca ledger proof state institution 636974792d686f73706974616c --out city.proof',
    )
    .action(async (kind: Kind, names: string[], given: { out: string; force: boolean }, command: Command) =>
      withPeer(command, async ({ client, options, signal }) => {
        const asked = askedFor(kind, names)
        const { chain } = await client.get<{ chain: ChainId }>('/api/v1/ledger/head', { signal })
        const { body } = await client.call(`/api/v1/ledger/proofs/${asked.route}`, { signal })
        const bytes = new Uint8Array(body)
        const checked = checkProof(bytes, { chainId: chain })
        if (!asked.isProvedBy(checked)) throw new CliError({ code: 'PROOF_ANSWER_OTHER' })
        await writeProof(given.out, bytes, given.force)
        print(options.json, { file: given.out, bytes: bytes.length, ...answerOf(checked) }, [
          ...proofRows(checked),
          ['file', `${given.out}, ${bytesText(bytes.length)}`],
        ])
      }),
    )

  ledger
    .command('check')
    .summary('check a proof; needs no peer and no network')
    .argument('<file>', 'the proof')
    .option('--chain <id>', 'id of the chain, from a source that you trust')
    .option('--genesis <file>', 'or the genesis of the consortium, from a source that you trust')
    .addHelpText('after', '\nExample:\n  apotheca ledger check record.proof --chain bafyrei…')
    .action(async (file: string, given: { chain?: string; genesis?: string }, command: Command) =>
      run(command, async (options) => {
        const trusted = await trustedChain(given)
        const checked = checkProof(await readBounded(file, PROOF_BYTES_MAX), trusted)
        print(options.json, answerOf(checked), proofRows(checked))
      }),
    )

  txCommands(program)
}

function txCommands(program: Command): void {
  const tx = program.command('tx').summary('transactions: what became of them')
  const report = (json: boolean, answer: ReceiptAnswer): void => {
    const { fault } = answer.receipt
    print(json, answer, [
      ['transaction', answer.tx],
      ['final', `at height ${answer.height}`],
      ['outcome', fault === undefined ? 'done' : refusalText(fault)],
    ])
    if (fault !== undefined) process.exitCode = cliReport(new CodedError(fault)).exit
  }

  tx.command('show')
    .summary('show the receipt of a final transaction')
    .argument('<tx>', 'the transaction')
    .addHelpText('after', '\nExample:\n  apotheca tx show tx1…')
    .action(async (id: string, _given: object, command: Command) =>
      withPeer(command, async ({ client, options, signal }) => {
        report(
          options.json,
          await client.get<ReceiptAnswer>(`/api/v1/ledger/transactions/${parseTxId(id)}`, { signal }),
        )
      }),
    )

  tx.command('wait')
    .summary('wait until a transaction is final, and show its receipt')
    .description('Waits for the receipt. The exit status is that of a refusal, or 6 where the time runs out.')
    .argument('<tx>', 'the transaction')
    .option('--timeout <seconds>', 'how long to wait', seconds, TX_WAIT_MS_MAX / 1_000)
    .addHelpText('after', '\nExample:\n  apotheca tx wait tx1… --timeout 10')
    .action(async (id: string, given: { timeout: number }, command: Command) =>
      withPeer(command, async ({ client, options, signal }) => {
        const timeoutMs = given.timeout * 1_000
        report(options.json, await waitReceipt(client, parseTxId(id), { timeoutMs, signal }))
      }),
    )
}

/** @throws {CliError} `PROOF_NAME_WRONG`; {IdError} */
function askedFor(kind: Kind, [name = '', second, ...rest]: readonly string[]): Asked {
  const isPair = second !== undefined && rest.length === 0
  if (kind === 'state' ? !isPair : second !== undefined) {
    throw new CliError({ code: 'PROOF_NAME_WRONG', expected: kind === 'state' ? 'namespace and key' : `one ${kind}` })
  }
  switch (kind) {
    case 'record': {
      const key = recordStateKeys(parseRecordId(name), { from: 1, to: 0 })[0]
      return { route: `records/${name}`, isProvedBy: (checked) => startsWith(checked, key) }
    }
    case 'account': {
      const key = accountStateKey(parseAccountId(name))
      return { route: `accounts/${name}`, isProvedBy: (checked) => startsWith(checked, key) }
    }
    case 'tx':
      return {
        route: `transactions/${parseTxId(name)}`,
        isProvedBy: ({ proved }) => proved.kind === 'transaction' && proved.tx.id === name,
      }
    case 'state': {
      const key = { namespace: name, key: hexKey(second ?? '') }
      return { route: `state/${encodeURIComponent(name)}/${second}`, isProvedBy: (checked) => startsWith(checked, key) }
    }
    case 'block': {
      const height = Number(name)
      if (!/^[1-9]\d{0,14}$/.test(name)) throw new CliError({ code: 'PROOF_NAME_WRONG', expected: 'a height, from 1' })
      return { route: `blocks/${height}`, isProvedBy: ({ block }) => block.height === height }
    }
    default:
      return kind satisfies never
  }
}

function startsWith(
  { proved }: CheckedProof,
  wanted: { readonly namespace: string; readonly key: Uint8Array } | undefined,
): boolean {
  const first = proved.kind === 'state' ? proved.entries[0] : undefined
  return first !== undefined && wanted?.namespace === first.namespace && equals(wanted.key, first.key)
}

/** @throws {CliError} `PROOF_NAME_WRONG` */
function hexKey(text: string): Uint8Array {
  if (!/^(?:[0-9a-f]{2})+$/.test(text) || text.length > STATE_KEY_BYTES_MAX * 2) {
    throw new CliError({ code: 'PROOF_NAME_WRONG', expected: 'a key of 1 to 256 bytes in lower-case hex' })
  }
  return fromString(text, 'base16')
}

/** The one thing to be believed. @throws {CliError} `CHECK_CHAIN_NEEDED`, `CHECK_GENESIS_DIFFERS`; faults of the genesis */
export async function trustedChain(given: {
  chain?: string
  genesis?: string
}): Promise<{ readonly chainId: ChainId; readonly genesis?: Uint8Array }> {
  const { chain, genesis: file } = given
  if (file === undefined) {
    if (chain === undefined) throw new CliError({ code: 'CHECK_CHAIN_NEEDED' })
    return { chainId: chain as ChainId }
  }
  // Hex doubles the bytes of the canonical form, names and braces double it again.
  const text = new TextDecoder().decode(await readBounded(file, GENESIS_BYTES_MAX * 4))
  const genesis = encodeGenesis(parseGenesisJson(text))
  const chainId = chainIdOf(genesis)
  if (chain !== undefined && chain !== chainId) {
    throw new CliError({ code: 'CHECK_GENESIS_DIFFERS', chain: chainId, expected: chain })
  }
  return { chainId, genesis }
}

/** A file from a stranger: no more of it is read than it may have, and one byte to tell that there is more. */
export async function readBounded(file: string, bytesMax: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(bytesMax + 1)
  let length = 0
  try {
    await using handle = await open(file)
    for (let read = -1; read !== 0 && length < bytes.length; length += read) {
      read = (await handle.read(bytes, length, bytes.length - length)).bytesRead
    }
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? 'unknown'
    throw new CliError({ code: 'CHECK_UNREADABLE', file, reason }, { cause: error })
  }
  return bytes.slice(0, length)
}

/** Writes what proves something. @throws {CliError} `OUTPUT_EXISTS` unless forced, `OUTPUT_UNWRITABLE` */
export async function writeProof(file: string, bytes: Uint8Array, force: boolean): Promise<void> {
  try {
    await writeFile(file, bytes, { flag: force ? 'w' : 'wx' })
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? 'unknown'
    const fault =
      reason === 'EEXIST' ? ({ code: 'OUTPUT_EXISTS' } as const) : ({ code: 'OUTPUT_UNWRITABLE', reason } as const)
    throw new CliError(fault, { cause: error })
  }
}

/** For programs: a transaction as its body and its receipt. */
function answerOf(checked: CheckedProof): object {
  const { proved } = checked
  if (proved.kind !== 'transaction') return checked
  const { receipt, tx } = proved
  return { ...checked, proved: { kind: proved.kind, tx: tx.id, body: tx.body, receipt } }
}

function seconds(text: string): number {
  const value = Number(text)
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('write whole seconds, such as 30')
  return value
}
