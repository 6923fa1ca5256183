import { EXIT, type FaultTable } from '../core/coded-error.ts'

export const configFaults = {
  CONFIG_UNREADABLE: {
    says: 'The config file {file} cannot be read: {reason}.',
    todo: 'Name a config file that exists and that this user may read; peer-configs/ has ready ones.',
    http: 500,
    exit: EXIT.usage,
  },
  CONFIG_INVALID: {
    says: '{file}:{line}:{column}: {option} {problem}; expected {expected}.',
    todo: 'Correct that line; docs/config.md lists every option.',
    http: 500,
    exit: EXIT.usage,
  },
} as const satisfies FaultTable
