import { readFileSync } from 'node:fs';
import { defineConfig } from 'vitepress';

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

/** The pages of the repository as a site: `npm run docs`. A link to a page that is not there fails the build. */
export default defineConfig({
  title: 'nx-ec2',
  description: "An Nx plugin that trains a monorepo's models on AWS EC2, without SSH",
  srcDir: '..',
  outDir: '../.cache/site',
  cacheDir: '../.cache/vitepress',
  srcExclude: ['!(docs|bench|*.md)/**'],
  rewrites: { 'README.md': 'index.md' },
  cleanUrls: true,
  markdown: { config: literalBraces },
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    sidebar: sidebarOf(readme),
  },
});

/** The groups and their pages, in the order in which the README's "Documentation" lists them. */
function sidebarOf(page) {
  const section = page.slice(page.indexOf('## Documentation'));
  return [...section.matchAll(/^- \*\*(.+?)\*\*: (.+)$/gm)].map(([, text, links]) => ({
    text,
    items: [...links.matchAll(/\[(.+?)\]\((.+?)\.md\)/g)].map(([, name, path]) => ({
      text: name[0].toUpperCase() + name.slice(1),
      link: `/${path}`,
    })),
  }));
}

/** Braces in a page are text, and no expressions of Vue. */
function literalBraces({ renderer: { rules } }) {
  for (const rule of ['text', 'code_inline', 'fence']) {
    const render = rules[rule];
    rules[rule] = (...args) => render(...args).replaceAll('{{', '&#123;&#123;');
  }
}
