/**
 * A light client of the daemons' ledger API, for benches and kill tests: accounts, signed transactions, and when they are final.
 * It signs with the production code; the key that its records carry was wrapped once, since the ledger doesn't open it.
 */
import { Agent, request } from 'node:http'
import { type ChainId, type InstitutionId, type TxId, parseInstitutionId } from '../src/core/ids.ts'
import type { Signer } from '../src/core/ports.ts'
import { type WrappedKey, generateEncryptionKey, wrapKey } from '../src/crypto/envelope.ts'
import { cborCid } from '../src/crypto/hash.ts'
import { generateSigningKey, softwareSigner } from '../src/crypto/signatures.ts'
import { draftAccountCreate } from '../src/domain/accounts.ts'
import { draftRecordAdd, recordKeyContext } from '../src/domain/records.ts'
import { type AccountKeys, accountIdOfKeys } from '../src/ledger/account-keys.ts'
import { type DraftTx, type SignedTx, signTx, txBodyOf } from '../src/ledger/transaction.ts'
import type { DaemonApi } from './daemon-network.ts'

const ENVELOPE_TYPE = 'application/vnd.ipld.dag-cbor'
const LIFETIME_MS = 3_600_000

export interface ApiAnswer {
  readonly status: number
  readonly body: string
}

/** What a client is told of a transaction that is final. */
export interface FinalAnswer {
  readonly tx: TxId
  readonly height: number
  readonly receipt: { readonly ok: boolean; readonly fault?: { readonly code: string } }
}

/** Requests to one daemon over connections that stay open. */
export class ApiConnection {
  readonly #api: DaemonApi
  readonly #agent: Agent

  constructor(api: DaemonApi, options: { readonly socketsMax?: number } = {}) {
    this.#api = api
    this.#agent = new Agent({ keepAlive: true, maxSockets: options.socketsMax ?? Number.POSITIVE_INFINITY })
  }

  close(): void {
    this.#agent.destroy()
  }

  /** @throws where the daemon doesn't answer in time, or is gone. */
  send(method: 'GET' | 'POST', path: string, options: { body?: Uint8Array; timeoutMs: number }): Promise<ApiAnswer> {
    const { body, timeoutMs } = options
    const headers = {
      authorization: `Bearer ${this.#api.token}`,
      ...(body === undefined ? {} : { 'content-type': ENVELOPE_TYPE, 'content-length': body.length }),
    }
    return new Promise((resolve, reject) => {
      const url = `${this.#api.url}/api/v1${path}`
      const sent = request(url, { method, agent: this.#agent, headers, timeout: timeoutMs }, (answer) => {
        let text = ''
        answer.setEncoding('utf8')
        answer.on('data', (piece: string) => {
          text += piece
        })
        answer.once('error', reject)
        answer.once('end', () => resolve({ status: answer.statusCode ?? 0, body: text }))
      })
      sent.once('timeout', () => sent.destroy(new Error(`no answer in ${timeoutMs} ms`)))
      sent.once('error', reject)
      sent.end(body)
    })
  }

  /** Submits a transaction. @throws where it isn't taken. */
  async submit(
    tx: Pick<SignedTx, 'bytes'>,
    options: { readonly route?: 'accounts' | 'ledger/transactions'; readonly timeoutMs?: number } = {},
  ): Promise<TxId> {
    const { route = 'ledger/transactions', timeoutMs = 10_000 } = options
    const { body, status } = await this.send('POST', `/${route}`, { body: tx.bytes, timeoutMs })
    if (status !== 202) throw new Error(`a transaction was not taken: HTTP ${status} ${body}`)
    return (JSON.parse(body) as { tx: TxId }).tx
  }

  /** @returns its receipt; `undefined` where it isn't final in this time. */
  async waitFinal(tx: TxId, waitMs: number): Promise<FinalAnswer | undefined> {
    const path = `/ledger/transactions/${tx}?waitMs=${waitMs}`
    const { body, status } = await this.send('GET', path, { timeoutMs: waitMs + 5_000 })
    if (status === 404) return undefined
    if (status !== 200) throw new Error(`no receipt: HTTP ${status} ${body}`)
    return JSON.parse(body) as FinalAnswer
  }
}

/** A person who signs record.add transactions, each a record of their own. */
export class Author {
  readonly org: InstitutionId
  readonly keys: AccountKeys
  readonly #chain: ChainId
  readonly #signer: Signer
  readonly #key: WrappedKey
  /** Of the last transaction signed. */
  #seq = 0

  private constructor(at: { org: InstitutionId; chain: ChainId }, keys: AccountKeys, signer: Signer, key: WrappedKey) {
    this.org = at.org
    this.keys = keys
    this.#chain = at.chain
    this.#signer = signer
    this.#key = key
  }

  static async make(at: { readonly institution: string; readonly chain: ChainId }): Promise<Author> {
    const { privateKey, publicKey } = generateSigningKey()
    const encryption = await generateEncryptionKey('x-wing')
    const keys = { signingKey: publicKey, encryption: { wrap: encryption.wrap, publicKey: encryption.publicKey } }
    const context = recordKeyContext({ patient: accountIdOfKeys(keys), manifest: MANIFEST })
    const key = await wrapKey(keys.encryption, new Uint8Array(32).fill(7), context)
    const org = parseInstitutionId(at.institution)
    return new Author({ org, chain: at.chain }, keys, softwareSigner(privateKey), key)
  }

  /** The transaction that registers this account; `others` sign beside. */
  signCreate(others: readonly Signer[] = [], nowMs = Date.now()): Promise<SignedTx> {
    return this.#sign(draftAccountCreate(this.keys), others, nowMs)
  }

  /** The next record. */
  signRecord(nowMs = Date.now()): Promise<SignedTx> {
    const patient = accountIdOfKeys(this.keys)
    const draft = draftRecordAdd({ patient, category: 'imaging', manifest: MANIFEST, key: this.#key })
    return this.#sign(draft, [], nowMs)
  }

  #sign(draft: DraftTx, others: readonly Signer[], nowMs: number): Promise<SignedTx> {
    this.#seq++
    const account = accountIdOfKeys(this.keys)
    const at = { chain: this.#chain, org: this.org, account, seq: this.#seq, expiresMs: nowMs + LIFETIME_MS }
    return signTx(txBodyOf(draft, at), [this.#signer, ...others])
  }
}

/** The ledger only keeps the link. */
const MANIFEST = cborCid(new Uint8Array([0xa0]))

/** Registers an author through a daemon of their institution, and waits until that is final. */
export async function registerAuthor(connection: ApiConnection, author: Author): Promise<void> {
  const tx = await connection.submit(await author.signCreate(), { route: 'accounts' })
  const final = await connection.waitFinal(tx, 60_000)
  if (final?.receipt.ok !== true) throw new Error(`an account was not made: ${JSON.stringify(final)}`)
}
