/**
 * A network of its own for each daemon: a Linux network namespace, wired to a switch that can be cut in two. Packets between the parts
 * are lost without a word, as on a broken line; connections stay open until someone notices.
 *
 *   root ── control ──┬── ns 0 ── eth-peers ──┐
 *                     ├── ns 1 ── eth-peers ──┤ bridge "whole", or one of its parts
 *                     └── ns …                │
 *
 * The daemons' HTTP APIs listen on the control network, which is never cut, so that clients reach each of them. All of it stands in
 * a namespace of its own (the switch), and goes with it.
 */
import { execFile } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { promisify } from 'node:util'
import type { DaemonPlace } from '../../scripts/daemon-network.ts'

const run = promisify(execFile)
const PARTS = ['whole', 'part'] as const
const CONTROL = 'control'

async function ip(...args: string[]): Promise<void> {
  await run('ip', args)
}

/** @returns why namespaces can't be made here, or `undefined` where they can. @throws where `ip` is missing and must not be */
export async function whyNoNamespaces(): Promise<string | undefined> {
  try {
    await run('ip', ['-V'])
  } catch {
    const sentence = 'The program "ip" is missing: install iproute2 (Debian: apt-get install iproute2).'
    if (process.env['CI'] === 'true') throw new Error(sentence)
    return sentence
  }
  const probe = `apotheca-probe-${randomInt(1_000_000)}`
  try {
    await ip('netns', 'add', probe)
    await ip('-n', probe, 'link', 'add', 'probe', 'type', 'bridge')
    await ip('-n', probe, 'link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1')
    return undefined
  } catch (error) {
    const { stderr = '' } = error as { stderr?: string }
    return `This machine doesn't allow network namespaces, bridges or veth pairs (CAP_NET_ADMIN and CAP_SYS_ADMIN): ${stderr.trim()}`
  } finally {
    await ip('netns', 'del', probe).catch(() => undefined)
  }
}

export class Namespaces implements AsyncDisposable {
  readonly #name: string
  readonly #net: number
  readonly #count: number

  private constructor(name: string, net: number, count: number) {
    this.#name = name
    this.#net = net
    this.#count = count
  }

  static async make(count: number): Promise<Namespaces> {
    const net = randomInt(1, 255)
    const spaces = new Namespaces(`apotheca-${process.pid}-${net}`, net, count)
    try {
      await spaces.#wire()
    } catch (error) {
      await spaces[Symbol.asyncDispose]()
      throw error
    }
    return spaces
  }

  readonly place = (index: number): DaemonPlace => ({
    host: `10.${this.#net}.1.${index + 1}`,
    apiHost: `10.${this.#net}.2.${index + 1}`,
    within: ['ip', 'netns', 'exec', this.#space(index)],
  })

  /** Cuts these off from the others; they still reach one another. */
  async cut(apart: readonly number[]): Promise<void> {
    for (const index of apart) await ip('-n', this.#name, 'link', 'set', `p${index}`, 'master', 'part')
  }

  async heal(): Promise<void> {
    for (let index = 0; index < this.#count; index++) {
      await ip('-n', this.#name, 'link', 'set', `p${index}`, 'master', 'whole')
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (let index = 0; index < this.#count; index++)
      await ip('netns', 'del', this.#space(index)).catch(() => undefined)
    await ip('netns', 'del', this.#name).catch(() => undefined)
  }

  #space(index: number): string {
    return `${this.#name}-${index}`
  }

  async #wire(): Promise<void> {
    const hub = this.#name
    await ip('netns', 'add', hub)
    for (const bridge of [...PARTS, CONTROL]) {
      await ip('-n', hub, 'link', 'add', bridge, 'type', 'bridge')
      await ip('-n', hub, 'link', 'set', bridge, 'up')
    }
    // This process: beside the daemons on the control network.
    const here = `apo${this.#net}`
    await ip('link', 'add', here, 'type', 'veth', 'peer', 'name', 'here', 'netns', hub)
    await ip('-n', hub, 'link', 'set', 'here', 'master', CONTROL, 'up')
    await ip('address', 'add', `10.${this.#net}.2.254/24`, 'dev', here)
    await ip('link', 'set', here, 'up')
    for (let index = 0; index < this.#count; index++) {
      const space = this.#space(index)
      const { apiHost, host } = this.place(index)
      await ip('netns', 'add', space)
      await ip('-n', space, 'link', 'set', 'lo', 'up')
      await this.#plug({ space, port: `p${index}`, bridge: 'whole', device: 'eth-peers', address: host })
      await this.#plug({ space, port: `c${index}`, bridge: CONTROL, device: 'eth-control', address: apiHost })
    }
  }

  async #plug(wire: { space: string; port: string; bridge: string; device: string; address: string }): Promise<void> {
    const { address, bridge, device, port, space } = wire
    await ip('-n', this.#name, 'link', 'add', port, 'type', 'veth', 'peer', 'name', device, 'netns', space)
    await ip('-n', this.#name, 'link', 'set', port, 'master', bridge, 'up')
    await ip('-n', space, 'address', 'add', `${address}/24`, 'dev', device)
    await ip('-n', space, 'link', 'set', device, 'up')
  }
}
