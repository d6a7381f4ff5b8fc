import { defineConfig } from 'vite';

export default defineConfig({
  base: './',
  esbuild: { jsx: 'automatic' },
  define: { 'process.env': {}, global: 'window' },
  build: { outDir: 'dist', modulePreload: false, chunkSizeWarningLimit: 20000 },
});
