/** `peer init | start | status | rotate-key`: the operator's commands. */
import type { Command } from 'commander'
import { join } from 'node:path'
import type { PeerStatus } from '../peer/peer.ts'
import { bytesText, dim, print, secondsText } from './output.ts'
import { run, withPeer } from './session.ts'
import { ledgerRows, readRows, repairRows } from './status-words.ts'

export function peerCommands(program: Command): void {
  const peer = program.command('peer').summary('the daemon of an institution')

  peer
    .command('init')
    .summary('make the keys of a new peer')
    .description('Makes the keys of a peer and of its institution in the data folder that the config names.')
    .requiredOption('--config <file>', 'config of the peer')
    .addHelpText('after', '\nExample:\n  apotheca peer init --config hospital.json')
    .action(async (given: { config: string }, command: Command) =>
      run(command, async (options) => {
        const { loadPeerConfig } = await import('../peer/config.ts')
        const { ADMIN_KEY_FILE, IDENTITY_FILE, createIdentity } = await import('../peer/identity.ts')
        const config = await loadPeerConfig(given.config)
        const identity = await createIdentity(config)
        print(options.json, identity, [
          ['institution', identity.institution],
          ['peer', identity.peer],
          ['account', identity.accountId],
          ['public', `${join(config.dataDir, IDENTITY_FILE)} ${dim('(for "network create")')}`],
          ['offline', `${join(config.dataDir, ADMIN_KEY_FILE)} ${dim('(changes members: move it off this machine)')}`],
        ])
      }),
    )

  peer
    .command('start')
    .summary('run the peer until it is told to stop')
    .requiredOption('--config <file>', 'config of the peer')
    .addHelpText('after', '\nExample:\n  apotheca peer start --config hospital.json')
    .action(async (given: { config: string }, command: Command) =>
      run(command, async (options, signal) => {
        const { runDaemon } = await import('./daemon.ts')
        await runDaemon(given.config, { json: options.json, signal })
      }),
    )

  peer
    .command('status')
    .summary('show how the running peer is')
    .addHelpText('after', '\nExample:\n  apotheca peer status --peer ./data')
    .action(async (_given: object, command: Command) =>
      withPeer(command, async ({ client, options }) => {
        const status = await client.get<PeerStatus>('/api/v1/status')
        const away = status.members.filter((one) => !one.connected)
        const { store } = status
        print(options.json, status, [
          ['institution', `${status.institution}${status.validator ? ', validator' : ''} of ${status.network}`],
          ['peer', status.peerId],
          ...(status.admitted ? [] : [['waits', 'to be admitted: the ledger does not name this peer'] as const]),
          ['account', status.account],
          ['chain', status.chain],
          ...ledgerRows(status, Date.now()),
          ['waiting', `${status.waitingTransactions} transactions`],
          ['members', `${status.members.length - away.length} of ${status.members.length} connected`],
          ...(away.length === 0 ? [] : [['away', away.map((one) => one.institution).join(', ')] as const]),
          ...readRows(status),
          ['stored', `${bytesText(store.bytes)} in ${store.blocks} blocks, of ${bytesText(store.capacityBytes)}`],
          ...repairRows(status),
          ['disk', `${bytesText(store.freeBytes)} free`],
          ['daemon', `up ${secondsText(status.upMs)}, ${bytesText(status.rssBytes)} of memory`],
        ])
      }),
    )

  rotateCommand(peer)
}

function rotateCommand(peer: Command): void {
  peer
    .command('rotate-key')
    .summary('make a new consensus key, in place of one that must not vote any more')
    .description(
      'Makes a new consensus key and sets the old one and its vote log aside; the daemon must be stopped. The new key votes once a ' +
        'membership change has put it in force.',
    )
    .requiredOption('--config <file>', 'config of the peer')
    .addHelpText('after', '\nExample:\n  apotheca peer rotate-key --config hospital.json')
    .action(async (given: { config: string }, command: Command) =>
      run(command, async (options) => {
        const { loadPeerConfig } = await import('../peer/config.ts')
        const { rotateConsensusKey } = await import('../peer/rotate-key.ts')
        const config = await loadPeerConfig(given.config)
        const rotated = await rotateConsensusKey(config)
        const { before, consensusKey, keysAside, votesAside } = rotated
        print(options.json, { institution: config.institution, ...rotated }, [
          ['new key', consensusKey],
          ['old key', `${before} ${dim('(votes no more)')}`],
          ['aside', [keysAside, ...(votesAside === undefined ? [] : [votesAside])].join(', ')],
          [
            'next',
            `start the peer, and: apotheca validators propose --rotate ${config.institution}=${consensusKey} --now`,
          ],
        ])
      }),
    )
}
