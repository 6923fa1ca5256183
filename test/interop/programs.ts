/** The programs of this suite. Where they can't be built the tests are skipped, and say why; under `CI=true` that is a failure. */
import { type InteropPrograms, ProgramsMissing, interopPrograms } from '../../scripts/interop-setup.ts'

/** @returns undefined where Go is missing, or what it needs can't be fetched. */
export async function findPrograms(): Promise<InteropPrograms | undefined> {
  try {
    return await interopPrograms((line) => console.warn(line))
  } catch (error) {
    if (!(error instanceof ProgramsMissing) || process.env['CI'] === 'true') throw error
    console.warn(`skipped: ${error.message}`)
    return undefined
  }
}
