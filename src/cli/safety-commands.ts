/** `status`: how safe what is stored is, in words. */
import type { Command } from 'commander'
import type { StorageQuota } from '../domain/storage-quota.ts'
import type { PeerStatus } from '../peer/peer.ts'
import type { Safety } from '../peer/safety.ts'
import { print } from './output.ts'
import { quotaText, safetyRows } from './safety-words.ts'
import { withPeer } from './session.ts'
import { resolveObject } from './target.ts'
import { TreeReader } from './tree-reader.ts'

export function safetyCommands(program: Command): void {
  program
    .command('status')
    .summary('how safe what is stored is: of one object, or of all')
    .description(
      'Says how many institutions may fail with nothing lost, when that was last proven, and what is being repaired; and how much the institution may add, by its storage quota. Computed from the ledger now.',
    )
    .argument('[object]', 'a record, or the CID of an object; without it, all that is placed')
    .addHelpText('after', '\nExamples:\n  apotheca status\n  apotheca status rec1rxka25tbalu6524d…')
    .action(async (object: string | undefined, _given: object, command: Command) =>
      withPeer(command, async ({ client, options, signal }) => {
        const path =
          object === undefined
            ? '/api/v1/safety'
            : `/api/v1/objects/${(await resolveObject(client, new TreeReader(client, signal), object, undefined)).manifestCid}/safety`
        const safety = await client.get<Safety>(path)
        const { repair } = await client.get<PeerStatus>('/api/v1/status')
        const { minutesLeft } = repair
        const left = minutesLeft === undefined ? {} : { minutesLeft }
        const rows = safetyRows(safety, { nowMs: Date.now(), ...left })
        if (object === undefined) {
          const quota = await client.get<StorageQuota>('/api/v1/quota', { signal })
          print(options.json, { ...safety, quota }, [...rows, ['quota', quotaText(quota)]])
        } else print(options.json, safety, rows)
      }),
    )
}
