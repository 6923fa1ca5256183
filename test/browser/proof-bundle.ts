/** The check of light proofs as one script for a browser, made by the bundler that vitest brings. */
import { fileURLToPath } from 'node:url'
import { build } from 'vite'

export interface Bundle {
  /** Sets the global `apothecaProof` with `check`. */
  readonly code: string
  /** Names of modules that are still imported: none, or it isn't for browsers. */
  readonly imports: readonly string[]
}

export async function bundleProofCheck(): Promise<Bundle> {
  const entry = fileURLToPath(new URL('proof-page.ts', import.meta.url))
  const made = await build({
    configFile: false,
    root: fileURLToPath(new URL('../../', import.meta.url)),
    logLevel: 'error',
    build: {
      write: false,
      minify: true,
      target: 'es2022',
      lib: { entry, formats: ['iife'], name: 'apothecaProof', fileName: 'proof' },
    },
  })
  const outputs = Array.isArray(made) ? made : [made]
  const chunks = outputs.flatMap((one) => ('output' in one ? one.output : [])).filter((one) => one.type === 'chunk')
  const [chunk] = chunks
  if (chunk === undefined || chunks.length !== 1) throw new Error('the bundle is one script')
  return { code: chunk.code, imports: [...chunk.imports, ...chunk.dynamicImports] }
}
