// How values look. Everything is text; nothing from an event is ever markup.

const count = new Intl.NumberFormat('en')
export const number = (n) => (n == null ? '–' : count.format(Math.round(n)))

export function short(n) {
  if (n == null) return '–'
  if (n >= 1e9) return (n / 1e9).toFixed(1) + ' G'
  if (n >= 1e6) return (n / 1e6).toFixed(1) + ' M'
  if (n >= 1e4) return (n / 1e3).toFixed(0) + ' k'
  return n >= 10 || Number.isInteger(n) ? count.format(Math.round(n)) : n.toFixed(1)
}

export function octets(n) {
  if (n == null) return '–'
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (n < 1024 || unit === 'GiB') return (n < 10 && unit !== 'B' ? n.toFixed(1) : Math.round(n)) + ' ' + unit
    n /= 1024
  }
}

export function latency(ms) {
  if (ms == null) return '–'
  return ms < 10 ? ms.toFixed(2) + ' ms' : ms < 10_000 ? Math.round(ms) + ' ms' : Math.round(ms / 1000) + ' s'
}

const pad = (n, w = 2) => String(n).padStart(w, '0')

export function clock(text, fraction = true) {
  const d = new Date(text)
  if (isNaN(d)) return '–'
  const time = `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`
  return fraction ? time + '.' + pad(d.getMilliseconds(), 3) : time
}

export function when(text) {
  const d = new Date(text)
  if (isNaN(d)) return '–'
  const day = `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())}`
  return `${day} ${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`
}

export function ago(text) {
  const s = (Date.now() - new Date(text)) / 1000
  if (isNaN(s)) return '–'
  if (s < 2) return 'now'
  if (s < 120) return Math.round(s) + ' s ago'
  if (s < 7200) return Math.round(s / 60) + ' min ago'
  if (s < 172_800) return Math.round(s / 3600) + ' h ago'
  return Math.round(s / 86_400) + ' days ago'
}

// What an event is about.
export const question = (e) => e.dns?.questions?.[0] ?? {}
export const isAnswer = (e) => e.dns?.flags?.includes('qr')
export const client = (e) => (isAnswer(e) ? e.metadata?.dst_ip : e.metadata?.src_ip)
export const server = (e) => (isAnswer(e) ? e.metadata?.src_ip : e.metadata?.dst_ip)
export const outcome = (e) => (e.alert ? e.alert.severity : e.event === 'net_packet_dns_unanswered' ? 'unanswered' : isAnswer(e) ? e.dns.rcode : 'query')
export const milliseconds = (e) => (e.transaction?.latency_us == null ? null : e.transaction.latency_us / 1000)
export const answers = (e) => (e.alert ? e.alert.rule : (e.dns?.answer ?? []).map((a) => (a.type === 'A' || a.type === 'AAAA' ? a.data : a.type + ' ' + a.data)).join(', '))
export const about = (e) => (e.alert ? e.alert.domain || e.alert.src || e.event : question(e).name)
export const comm = (e) => e.process?.comm ?? ''

export function tone(e) {
  const what = outcome(e)
  if (e.alert) return what === 'high' || what === 'critical' ? 'bad' : 'warn'
  if (what === 'NOERROR' || what === 'query') return ''
  return what === 'NXDOMAIN' ? 'warn' : 'bad'
}
