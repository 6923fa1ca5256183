/**
 * Three writers store, remove and rewrite blocks on a simulated disk. At a random operation the process is killed, or the power
 * is lost, with any part of what was not synced gone; the store is opened again, compared with what was acknowledged, and goes on, through several lives.
 */
import { expect, test } from 'vitest'
import { BlockStore } from '../../../src/store/block-store.ts'
import { RemoveCapability } from '../../../src/store/blocks.ts'
import { block, silent, type TestBlock } from './setup.ts'
import { SimDisk, seededRandom } from './sim-disk.ts'

const SEEDS = Number(process.env['POWER_LOSS_SEEDS'] ?? 150)
const FIRST_SEED = Number(process.env['POWER_LOSS_SEED'] ?? 0)
const LIVES = 4
const WRITERS = 3
const BLOCKS_PER_WRITER = 12

type Known = 'present' | 'absent' | 'unknown'
const pool: TestBlock[] = Array.from({ length: WRITERS * BLOCKS_PER_WRITER }, (_, i) => block((i * 311) % 3_000, i + 1))

class Life {
  readonly #disk: SimDisk
  readonly #random: () => number
  readonly #known: Known[]
  readonly #capability = new RemoveCapability()

  constructor(disk: SimDisk, seed: number, known: Known[]) {
    this.#disk = disk
    this.#random = seededRandom(seed)
    this.#known = known
  }

  /** Opens, checks, and works until the power is lost. */
  async live(): Promise<void> {
    this.#disk.operationsLeft = Math.floor(this.#random() ** 2 * 500)
    const opened = this.#open().then(async (store) => this.#work(store))
    await Promise.race([opened, this.#disk.crashed])
    await this.#disk.crashed
  }

  /** Opens and compares. @returns what is not as it should be. */
  async check(): Promise<string[]> {
    const wrong: string[] = []
    const store = await this.#open()
    for (const [i, { digest, bytes }] of pool.entries()) {
      const known = this.#known[i]
      const found = store.has(digest) ? 'present' : 'absent'
      if (known === 'unknown') this.#known[i] = found
      else if (known !== found) wrong.push(`block ${i} is ${found}, and was ${known}`)
      // Also what was never acknowledged is whole, or not there.
      const read = found === 'present' ? await store.read(digest) : bytes
      if (read === undefined || Buffer.compare(read, bytes) !== 0) wrong.push(`block ${i} reads back as something else`)
    }
    await store.close()
    return wrong
  }

  #open(): Promise<BlockStore> {
    return BlockStore.open(
      { fs: this.#disk, clock: { nowMs: () => 0 }, log: silent, capability: this.#capability },
      { dir: '/data', capacityBytes: 2 ** 40, reserveFreeBytes: 0, ballastBytes: 0, packBytes: 6_000 },
    )
  }

  async #work(first: BlockStore): Promise<never> {
    let store = first
    for (;;) {
      await Promise.all(Array.from({ length: WRITERS }, (_, writer) => this.#write(store, writer)))
      if (this.#random() < 0.2) {
        await store.close()
        store = await this.#open()
      }
    }
  }

  async #write(store: BlockStore, writer: number): Promise<void> {
    for (let step = 0; step < 5; step++) {
      const chosen = [0, 1, 2].map(() => writer * BLOCKS_PER_WRITER + Math.floor(this.#random() * BLOCKS_PER_WRITER))
      if (this.#random() < 0.5) {
        const list = chosen.slice(0, 1 + Math.floor(this.#random() * 3))
        for (const i of list) if (this.#known[i] !== 'present') this.#known[i] = 'unknown'
        await store.write(list.map((i) => pool[i] ?? block(1)))
        for (const i of list) this.#known[i] = 'present'
      } else {
        const [i = 0] = chosen
        if (this.#known[i] !== 'absent') this.#known[i] = 'unknown'
        await store.remove(pool[i]?.digest ?? new Uint8Array(), this.#capability)
        this.#known[i] = 'absent'
      }
    }
  }
}

test('acknowledged writes and removals survive a kill and a loss of power at any moment', {
  timeout: 20_000 + SEEDS * 100,
}, async () => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
    let disk = new SimDisk(seed)
    const known: Known[] = pool.map(() => 'absent')
    for (let life = 0; life < LIVES; life++) {
      const now = new Life(disk, seed * LIVES + life, known)
      await now.live()
      disk = seededRandom(seed * LIVES + life)() < 0.4 ? disk.afterKill(seed) : disk.afterCrash(seed + life)
      const wrong = await new Life(disk, seed, known).check()
      expect(wrong, `POWER_LOSS_SEED=${seed} POWER_LOSS_SEEDS=1 replays it (life ${life})`).toEqual([])
    }
  }
})
