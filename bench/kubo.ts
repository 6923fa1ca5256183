/** Kubo beside us, where an `ipfs` binary is on the path: `ipfs add` on one of its daemons, `ipfs cat` through another. */
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { KuboNode } from '../scripts/kubo-process.ts'
import { median } from './figure.ts'
import { mbPerS } from './limits.ts'

const exec = promisify(execFile)
const PROGRAM = 'ipfs'
/** Our own profile (docs/spec/object.md): the same blocks, so that the work is the same. */
const PROFILE = ['--cid-version=1', '--raw-leaves', '--chunker=size-1048576', '--max-file-links=1024']

export interface KuboRates {
  /** Medians, MB/s. */
  readonly add: number
  readonly cat: number
}

/** @returns undefined where no `ipfs` is on the path. */
export async function measureKubo(options: {
  file: string
  bytes: number
  rounds: number
}): Promise<KuboRates | undefined> {
  const isThere = await exec(PROGRAM, ['version']).then(
    () => true,
    () => false,
  )
  if (!isThere) return undefined
  const folder = await mkdtemp(join(tmpdir(), 'apotheca-kubo-'))
  try {
    await using one = await KuboNode.create(PROGRAM, join(folder, 'one'))
    await using two = await KuboNode.create(PROGRAM, join(folder, 'two'))
    await one.start()
    await two.start()
    await two.run('swarm', 'connect', await one.address())
    const adds: number[] = []
    const cats: number[] = []
    for (let round = 0; round < options.rounds; round++) {
      let started = performance.now()
      const cid = await one.run('add', '--quieter', '--progress=false', ...PROFILE, options.file)
      adds.push(mbPerS(options.bytes, performance.now() - started))
      const out = join(folder, 'out')
      started = performance.now()
      await two.runInto(out, 'cat', '--progress=false', cid)
      cats.push(mbPerS(options.bytes, performance.now() - started))
      await rm(out)
      // The next round must move every block again.
      await one.run('pin', 'rm', cid)
      for (const node of [one, two]) await node.run('repo', 'gc', '--quiet')
    }
    return { add: median(adds), cat: median(cats) }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
