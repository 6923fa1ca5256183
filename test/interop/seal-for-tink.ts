/**
 * Seals the streams that Tink opens: `node test/interop/seal-for-tink.ts DIR`, run by tink-vectors.py.
 * Everything is made from seeds, so a second run writes the same bytes.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sealStream } from '../../src/crypto/sealed-stream.ts'
import { seededBytes } from '../vectors/seeded.ts'

const MIB = 1024 * 1024
/** Around every edge of the layout: empty, one byte, the first segment full, one more, the second segment full, one more. */
const SIZES = [0, 1, 1000, MIB - 56, MIB - 55, 2 * MIB - 72, 2 * MIB - 71, 3 * MIB]

const [folder] = process.argv.slice(2)
if (folder === undefined) throw new Error('usage: node test/interop/seal-for-tink.ts DIR')
await mkdir(folder, { recursive: true })
for (const plaintextBytes of SIZES) {
  const name = `ours-${plaintextBytes}`
  const header = new Uint8Array([40, ...seededBytes(`header ${name}`, 39)])
  const source = (async function* () {
    yield seededBytes(`plaintext ${name}`, plaintextBytes)
  })()
  const pieces: Uint8Array[] = []
  const options = { key: seededBytes(`key ${name}`, 32), profile: 'aes-256-gcm', header } as const
  for await (const piece of sealStream(source, options)) pieces.push(piece)
  await writeFile(join(folder, `${name}.sealed`), Buffer.concat(pieces))
}
