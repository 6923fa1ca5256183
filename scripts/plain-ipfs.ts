/**
 * An IPFS program with none of our code: Helia, libp2p and UnixFS as they come from npm. It is told the addresses of members
 * and a CID, and writes what the CID names.
 *
 *   node scripts/plain-ipfs.ts KEY_FILE id                       prints its peer id
 *   node scripts/plain-ipfs.ts KEY_FILE get ADDRESSES CID OUT    fetches a file by bitswap; addresses with commas between
 */
import { createWriteStream } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { withBitswap } from '@helia/bitswap'
import { withLibp2p } from '@helia/libp2p'
import { unixfs } from '@helia/unixfs'
import { generateKeyPair, privateKeyFromRaw } from '@libp2p/crypto/keys'
import { identify, identifyPush } from '@libp2p/identify'
import type { PrivateKey } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createHeliaLight } from 'helia'
import { CID } from 'multiformats/cid'

const [keyFile = '', command = '', addresses = '', cid = '', out = ''] = process.argv.slice(2)

async function privateKey(): Promise<PrivateKey> {
  try {
    return privateKeyFromRaw(new Uint8Array(await readFile(keyFile)))
  } catch {
    const key = await generateKeyPair('Ed25519')
    await writeFile(keyFile, key.raw, { mode: 0o600 })
    return key
  }
}

const key = await privateKey()
if (command === 'id') {
  process.stdout.write(`${peerIdFromPrivateKey(key).toString()}\n`)
} else {
  const helia = await withBitswap(
    withLibp2p(createHeliaLight(), {
      privateKey: key,
      addresses: { listen: [] },
      transports: [tcp()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux()],
      peerDiscovery: [],
      services: { identify: identify(), identifyPush: identifyPush() },
    }),
  ).start()
  for (const address of addresses.split(',')) await helia.libp2p.dial(multiaddr(address))
  const signal = AbortSignal.timeout(60_000)
  await pipeline(Readable.from(unixfs(helia).cat(CID.parse(cid), { signal })), createWriteStream(out))
  await helia.stop()
}
