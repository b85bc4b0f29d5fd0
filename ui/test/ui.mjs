// Drives the pages of a dnshark that captures, in a real browser, as cmd/dnshark/ui_test.go
// starts it. Each failed expectation is a line on standard error, and exit code 1.
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const { BASE, MODULES, PROFILE, DIG, TRANSFER, LOAD, HOSTILE, SCREENSHOTS } = process.env
const require = createRequire(MODULES + '/')
const { chromium } = require('playwright-core')
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')

let failures = 0
function expect(ok, what) {
  if (ok) return
  failures++
  console.error('FAIL: ' + what)
}
const run = (command, ...args) => {
  const [program, ...first] = command.split(' ')
  return execFileSync(program, [...first, ...args], { encoding: 'utf8', timeout: 30_000 })
}

const context = await chromium.launchPersistentContext(PROFILE, {
  executablePath: '/usr/bin/chromium',
  viewport: { width: 1360, height: 850 },
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
})
process.on('uncaughtException', (e) => {
  console.error('FAIL: ' + e.message + e.stack.split('\n').filter((l) => l.includes('ui.mjs')).join(''))
  process.exit(1)
})
const page = context.pages()[0] ?? (await context.newPage())
page.setDefaultTimeout(30_000)
page.on('console', (m) => expect(!['error', 'warning'].includes(m.type()) || quietly, `console: ${m.text()}`))
page.on('pageerror', (e) => expect(false, `error on the page: ${e.message}`))
page.on('request', (r) => expect(r.url().startsWith(BASE + '/') || r.url().startsWith('data:'), `request to ${r.url()}`))
page.on('dialog', (d) => {
  expect(false, `dialog: ${d.message()}`)
  d.dismiss()
})
await page.addInitScript(() => {
  addEventListener('securitypolicyviolation', (e) => console.error(`policy violated: ${e.violatedDirective} ${e.blockedURI}`))
})
let quietly = false // while a failed request, which the browser tells, is what is wanted

const has = (text) => page.getByText(text, { exact: true }).first().waitFor()

async function open(path) {
  await page.goto(BASE + path)
  await page.locator('main h1').first().waitFor({ state: 'attached' })
}

// Live: what dig asks appears.
await open('/live')
await page.getByRole('status').getByText('live').waitFor()
const begin = Date.now()
run(DIG, 'seen.example.test')
const ran = Date.now()
await has('seen.example.test')
console.log(`dig ended after ${ran - begin} ms, its answer was on the page ${Date.now() - ran} ms later`)

// A filter chooses; a wrong one is told where it is wrong.
await page.getByLabel('Filter', { exact: true }).fill('dns.rcode == "NXDOMAIN"')
await page.getByRole('button', { name: 'Filter' }).click()
await page.getByRole('status').getByText('live').waitFor()
run(DIG, 'exists.example.test')
run(DIG, 'missing.other.test')
await has('missing.other.test')
expect((await page.getByText('exists.example.test', { exact: true }).count()) === 0, 'the filter lets everything pass')
quietly = true
await page.getByLabel('Filter', { exact: true }).fill('dns.rcod == 1')
await page.getByRole('button', { name: 'Filter' }).click()
await page.getByRole('alert').getByText('dns.rcode').first().waitFor()
quietly = false
await page.getByLabel('Filter', { exact: true }).fill('')
await page.getByRole('button', { name: 'Filter' }).click()
await page.getByRole('status').getByText('live').waitFor()

// Paused, the list stands still, and nothing is lost.
await page.getByRole('button', { name: 'Pause' }).click()
run(DIG, 'held.example.test')
await page.getByRole('button', { name: /Resume \([1-9]/ }).waitFor()
expect((await page.getByText('held.example.test', { exact: true }).count()) === 0, 'a paused list moves')
await page.getByRole('button', { name: 'Resume' }).click()
await has('held.example.test')

// The details of an event, by the keyboard, and from there the name's page.
await page.getByRole('button', { name: 'held.example.test' }).first().focus()
await page.keyboard.press('Enter')
await page.getByRole('dialog').getByText('Answer', { exact: true }).waitFor()
expect(await page.getByRole('dialog').getByText('/usr/bin/dig').count(), 'the details do not tell the executable')
await page.keyboard.press('Escape')

// The name's page has who asked, and what the name was yesterday.
await page.keyboard.press('/')
await page.keyboard.type('www.example.test')
run(DIG, 'www.example.test')
await page.keyboard.press('Enter')
const resolutions = page.getByRole('region', { name: 'Resolutions' })
await resolutions.getByRole('link', { name: '192.0.2.7', exact: true }).waitFor() // yesterday's
await resolutions.getByRole('link', { name: '192.0.2.80', exact: true }).waitFor() // today's
await page.getByRole('region', { name: 'Who asked', exact: true }).getByRole('link', { name: 'dig' }).waitFor()
expect(page.url() === BASE + '/name/www.example.test', page.url())
await resolutions.getByRole('link', { name: '192.0.2.80', exact: true }).click()
await page.getByRole('region', { name: 'Names', exact: true }).getByRole('link', { name: 'www.example.test' }).first().waitFor()

// An alert, with its evidence.
run(TRANSFER)
await page.keyboard.press('g')
await page.keyboard.press('a')
await page.getByRole('button', { name: /dns_zone_transfer/ }).first().click()
await page.getByText('What it is not').or(page.getByText('Evidence')).first().waitFor()

// Whatever a name holds stays text.
for (const [path, text] of JSON.parse(HOSTILE)) {
  await open(path)
  await page.getByText(text).first().waitFor()
}
expect((await page.locator('main script, main img, main iframe').count()) === 0, 'a name became an element')

// A thousand answers a second do not stop the page.
await open('/live')
await page.getByRole('status').getByText('live').waitFor()
await page.evaluate(() => {
  window.gaps = []
  let last = performance.now()
  const next = (now) => {
    window.gaps.push(now - last)
    last = now
    requestAnimationFrame(next)
  }
  requestAnimationFrame(next)
})
await new Promise((resolve, reject) => {
  const [program, ...args] = LOAD.split(' ')
  spawn(program, args, { stdio: 'ignore' }).on('exit', resolve).on('error', reject)
})
await page.waitForTimeout(500)
const gaps = (await page.evaluate(() => window.gaps)).sort((a, b) => a - b)
const state = await page.getByRole('status').innerText()
const seen = Number(/([\d,]+) seen/.exec(state)?.[1].replaceAll(',', ''))
console.log(`under load: ${state.trim()}; ${gaps.length} frames, median ${gaps[gaps.length >> 1].toFixed(0)} ms, 99th percentile ${gaps[Math.floor(gaps.length * 0.99)].toFixed(0)} ms, longest ${gaps.at(-1).toFixed(0)} ms`)
expect(seen > 1000, `the page took only ${seen} events`)
expect(gaps.at(-1) < 3000, 'the page froze')

// Every page, in both themes, is accessible.
async function check(where) {
  const found = await page.evaluate(axe + '; axe.run()')
  for (const v of found.violations) expect(false, `${where}: ${v.id}: ${v.nodes[0].html.slice(0, 200)}: ${v.nodes[0].failureSummary}`)
}
const pages = [['overview', '/'], ['live', '/live'], ['details', '/live'], ['name', '/name/www.example.test'], ['address', '/ip/192.0.2.80'], ['process', '/process/dig'], ['alerts', '/alerts'], ['search', '/search?q=*.example.test']]
for (const theme of ['light', 'dark']) {
  await page.evaluate((t) => localStorage.setItem('theme', t), theme)
  for (const [name, path] of pages) {
    await open(path)
    await page.locator('[aria-busy=true]').first().waitFor({ state: 'detached' })
    if (name === 'alerts') await page.getByRole('button', { name: /dns_zone_transfer/ }).first().click()
    if (name === 'details') await page.locator('main [data-row]').first().click()
    await page.waitForTimeout(300)
    await check(`${theme} ${path}`)
    if (SCREENSHOTS) {
      mkdirSync(SCREENSHOTS, { recursive: true })
      await page.screenshot({ path: `${SCREENSHOTS}/${name}${theme === 'dark' ? '-dark' : ''}.png` })
    }
  }
}

await context.close()
process.exit(failures ? 1 : 0)
