/** `peer init | start | status | rotate-key`, `network create`: the operator's commands. */
import { type Command, InvalidArgumentError } from 'commander'
import { join } from 'node:path'
import type { PeerStatus } from '../peer/peer.ts'
import { bytesText, columns, dim, print, secondsText } from './output.ts'
import { run, withPeer } from './session.ts'
import { ledgerRows, readRows } from './status-words.ts'

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
          ['account', status.account],
          ['chain', status.chain],
          ...ledgerRows(status, Date.now()),
          ['waiting', `${status.waitingTransactions} transactions`],
          ['members', `${status.members.length - away.length} of ${status.members.length} connected`],
          ...(away.length === 0 ? [] : [['away', away.map((one) => one.institution).join(', ')] as const]),
          ...readRows(status),
          ['stored', `${bytesText(store.bytes)} in ${store.blocks} blocks, of ${bytesText(store.capacityBytes)}`],
          ['disk', `${bytesText(store.freeBytes)} free`],
          ['daemon', `up ${secondsText(status.upMs)}, ${bytesText(status.rssBytes)} of memory`],
        ])
      }),
    )

  rotateCommand(peer)

  program
    .command('network')
    .summary('the consortium')
    .command('create')
    .summary('make the genesis of a new consortium')
    .description('Merges a template with the public identities of the founding peers. Its hash is the id of the chain.')
    .argument('<template>', 'institutions and validators, without keys')
    .argument('<identities...>', 'identity.json of each founding peer')
    .requiredOption('--out <file>', 'genesis to write')
    .option(
      '--extra-peer <institution=id>',
      'a further peer id, such as of an IPFS program; repeatable',
      extraPeer,
      new Map(),
    )
    .addHelpText(
      'after',
      '\nExample:\n  apotheca network create template.json a/identity.json b/identity.json --out genesis.json',
    )
    .action(
      async (
        template: string,
        identities: string[],
        given: { out: string; extraPeer: Map<string, string[]> },
        command: Command,
      ) =>
        run(command, async (options) => {
          const { makeGenesis } = await import('../peer/network.ts')
          const { readPublicIdentity, writeWhole } = await import('../peer/identity.ts')
          const founders = await Promise.all(identities.map(readPublicIdentity))
          const { chain, genesis, json } = await makeGenesis(template, founders, {
            nowMs: Date.now(),
            extraPeers: given.extraPeer,
          })
          await writeWhole(given.out, json, 0o644)
          const rows = genesis.institutions.map((one) => [one.id, one.role, String(one.peers.length)])
          print(options.json, { chain, genesis: given.out, institutions: genesis.institutions.map((one) => one.id) }, [
            ['network', genesis.name],
            ['chain', chain],
            ['genesis', given.out],
            ['members', `\n${columns(['institution', 'role', 'peers'], rows)}`],
          ])
        }),
    )
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

function extraPeer(text: string, before: Map<string, string[]>): Map<string, string[]> {
  const [institution, id, ...rest] = text.split('=')
  if (institution === undefined || id === undefined || rest.length > 0)
    throw new InvalidArgumentError('write institution=peer-id')
  return new Map(before).set(institution, [...(before.get(institution) ?? []), id])
}
