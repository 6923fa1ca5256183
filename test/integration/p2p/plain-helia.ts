import { withBitswap } from '@helia/bitswap'
import { type HeliaWithLibp2p, withLibp2pLight } from '@helia/libp2p'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { identify, identifyPush } from '@libp2p/identify'
import type { ServiceMap } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { createHeliaLight } from 'helia'
import { seedOf } from './test-peer.ts'

/** Helia, libp2p and UnixFS as they come from npm: no line of ours. */
export async function startPlainHelia(word: string): Promise<HeliaWithLibp2p<ServiceMap> & AsyncDisposable> {
  const helia = withLibp2pLight(createHeliaLight(), {
    privateKey: await generateKeyPairFromSeed('Ed25519', seedOf(word)),
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    services: { identify: identify(), identifyPush: identifyPush() },
  })
  await withBitswap(helia).start()
  return Object.assign(helia, { [Symbol.asyncDispose]: async () => void (await helia.stop()) })
}
