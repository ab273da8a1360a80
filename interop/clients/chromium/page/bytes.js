// Functions on Uint8Array that JavaScript lacks.

export const hex = (b) => Array.from(b, (x) => x.toString(16).padStart(2, '0')).join('')

export const equal = (a, b) => a.length === b.length && a.every((x, i) => x === b[i])

export const random = (length) => {
  const b = new Uint8Array(length)
  const maxLength = 65536 // bytes per call
  for (let at = 0; at < length; at += maxLength) crypto.getRandomValues(b.subarray(at, at + maxLength))
  return b
}

export function join(...parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

export const view = (b) => new DataView(b.buffer, b.byteOffset, b.byteLength)
