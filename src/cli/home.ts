/** Where the CLI keeps its things, and which peer it speaks to. */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { object, text } from '../core/schema.ts'
import { CliError } from './faults.ts'

/** Options every command has. */
export interface GlobalOptions {
  /** The CLI's own folder: keystores and unfinished uploads. */
  readonly home: string
  /** Data folder of the peer, where `api.json` lies. */
  readonly peer?: string
  readonly passphraseFile?: string
  readonly json: boolean
}

export interface PeerAddress {
  readonly url: string
  readonly token: string
}

export const DEFAULT_HOME = join(homedir(), '.apotheca')

export const keystorePath = (home: string, name: string): string => join(home, 'keys', `${name}.json`)
export const uploadsFolder = (home: string): string => join(home, 'uploads')

const apiFile = object({ url: text(1, 256, /^http:\/\//), token: text(32, 256) })
export const API_FILE = 'api.json'

/** The running daemon's address and token. @throws {CliError} `PEER_NOT_RUNNING`, `PEER_FILE_INVALID` */
export async function peerAddress(options: GlobalOptions): Promise<PeerAddress> {
  const folder = options.peer ?? process.env['APOTHECA_PEER'] ?? join(options.home, 'peer')
  const file = join(folder, API_FILE)
  let written: string
  try {
    written = await readFile(file, 'utf8')
  } catch (error) {
    throw new CliError({ code: 'PEER_NOT_RUNNING', folder }, { cause: error })
  }
  try {
    return apiFile(JSON.parse(written), API_FILE)
  } catch (error) {
    throw new CliError({ code: 'PEER_FILE_INVALID', file }, { cause: error })
  }
}
