/** What a refusal looks like from outside: its fault, or the thrown thing where it has none. */
import { CodedError, type Fault } from '../../../src/core/coded-error.ts'

/** @returns the fault that `action` ends with; fails where it ends well or with anything but a coded error. */
export async function faultOf(action: () => unknown): Promise<Fault> {
  try {
    await action()
  } catch (error) {
    if (error instanceof CodedError) return error.fault
    throw error
  }
  throw new Error('expected a coded error, and there was none')
}
