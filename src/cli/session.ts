/** What most commands need: the peer's API, an account, and an orderly way out on Ctrl-C. */
import type { Command } from 'commander'
import { type CliAccount, openAccount } from './account.ts'
import { ApiClient } from './api-client.ts'
import { CliError } from './faults.ts'
import { type GlobalOptions, peerAddress } from './home.ts'
import { printFault } from './output.ts'

export interface Session {
  readonly options: GlobalOptions
  readonly client: ApiClient
  /** Aborted by Ctrl-C or SIGTERM. */
  readonly signal: AbortSignal
  account(name: string | undefined): Promise<CliAccount>
}

/** Runs a command that needs no peer: prints its fault, if any, and sets the exit status. */
export async function run(
  command: Command,
  work: (options: GlobalOptions, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const options = command.optsWithGlobals<GlobalOptions>()
  const stop = new AbortController()
  const interrupted = (): void => stop.abort(new CliError({ code: 'INTERRUPTED' }))
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted)
  try {
    await work(options, stop.signal)
  } catch (error) {
    printFault(stop.signal.aborted ? stop.signal.reason : error, options.json)
  } finally {
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted)
  }
}

/** Runs a command against the peer. */
export async function withPeer(command: Command, work: (session: Session) => Promise<void>): Promise<void> {
  await run(command, async (options, signal) => {
    const client = new ApiClient(await peerAddress(options))
    try {
      await work({ options, client, signal, account: async (name) => openAccount(options, name) })
    } finally {
      client.close()
    }
  })
}
