import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vite'

// The server's content security policy allows files of its own and nothing inline.
export default defineConfig({
  plugins: [svelte()],
  base: '/',
  build: {
    outDir: '../internal/web/assets',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    cssCodeSplit: false,
    target: 'es2022',
  },
  // make ui-dev: the pages from here, the data from a dnshark serve.
  server: { proxy: { '/api': 'http://127.0.0.1:8053', '/login': 'http://127.0.0.1:8053' } },
})
