import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export interface ProviderTask {
  readonly word: string
  readonly members: readonly string[]
  readonly blocks: number
  readonly blockBytes: number
}

export interface ProviderChild extends AsyncDisposable {
  readonly address: string
  readonly process: ChildProcess
}

/** Starts a provider process, and waits until it listens. */
export async function startProvider(task: ProviderTask): Promise<ProviderChild> {
  const child = fork(fileURLToPath(new URL('./provider-process.ts', import.meta.url)), { execArgv: [] })
  child.send(task)
  const [address] = (await once(child, 'message')) as [string]
  return {
    address,
    process: child,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGKILL')
      await once(child, 'exit')
    },
  }
}
