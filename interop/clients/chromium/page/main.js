// Runs one case, which the page's address names, and shows what it does.
// window.outcome is what came of it: {error} or {note}.
import { hex } from './bytes.js'
import { overHTTP } from './http.js'
import { overWebSocket } from './websocket.js'

const query = new URLSearchParams(location.search)
const url = query.get('url')
const over = url.startsWith('ws') ? overWebSocket : overHTTP
const test = JSON.parse(query.get('case'))

const title = document.querySelector('h1')
const table = document.querySelector('table')
const start = performance.now()

// show adds a line to the page: values that are bytes in hexadecimal, of long
// ones the beginning.
function show(what, ...values) {
  const row = table.insertRow()
  row.insertCell().textContent = `${Math.round(performance.now() - start)} ms`
  row.insertCell().textContent = what
  row.insertCell().textContent = values.map((v) => (v instanceof Uint8Array ? brief(v) : String(v))).join(' ')
}

const shown = 96
const brief = (b) => `${b.length} bytes: ${hex(b.subarray(0, shown))}${b.length > shown ? ' …' : ''}`

// limit is how long a case may take. It is less than the driver's, so that
// there is a picture of what went well until then.
const limit = 15000
const tooLong = () => new Promise((_, reject) => setTimeout(reject, limit, new Error('no answer')))

async function run() {
  title.textContent = `${test.name}:`
  show('browser', navigator.userAgent)
  show('data centre', url)
  try {
    const note = await Promise.race([over(url, test, show), tooLong()])
    title.className = 'passed'
    return { note }
  } catch (error) {
    show('failed', error)
    title.className = 'failed'
    return { error: String(error) }
  }
}

window.outcome = run()
