/** Pages of this folder as one script for a browser each, made by the bundler that vitest brings. */
import { fileURLToPath } from 'node:url'
import { build } from 'vite'

export interface Bundle {
  /** Sets the global of that name with what the page exports. */
  readonly code: string
  /** Names of modules that are still imported: none, or it isn't for browsers. */
  readonly imports: readonly string[]
}

/** The check of light proofs: `apothecaProof`. */
export function bundleProofCheck(): Promise<Bundle> {
  return bundlePage(new URL('proof-page.ts', import.meta.url), 'apothecaProof')
}

/** The erasure code: `apothecaErasure`. */
export function bundleErasure(): Promise<Bundle> {
  return bundlePage(new URL('erasure-page.ts', import.meta.url), 'apothecaErasure')
}

async function bundlePage(page: URL, name: string): Promise<Bundle> {
  const entry = fileURLToPath(page)
  const made = await build({
    configFile: false,
    root: fileURLToPath(new URL('../../', import.meta.url)),
    logLevel: 'error',
    build: {
      write: false,
      minify: true,
      target: 'es2022',
      lib: { entry, formats: ['iife'], name, fileName: 'page' },
    },
  })
  const outputs = Array.isArray(made) ? made : [made]
  const chunks = outputs.flatMap((one) => ('output' in one ? one.output : [])).filter((one) => one.type === 'chunk')
  const [chunk] = chunks
  if (chunk === undefined || chunks.length !== 1) throw new Error('the bundle is one script')
  return { code: chunk.code, imports: [...chunk.imports, ...chunk.dynamicImports] }
}
