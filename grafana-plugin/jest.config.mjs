// Logic is tested in Node; what needs a document says so in its first line (@jest-environment jsdom).
// npm test starts Node with --experimental-vm-modules, with which Jest loads packages that are ES modules only.
const compiled = [
  '@swc/jest',
  { jsc: { parser: { syntax: 'typescript', tsx: true }, transform: { react: { runtime: 'automatic' } }, target: 'es2022' }, module: { type: 'commonjs' } },
];

export default {
  // Grafana's components are loaded whole, which takes a busy machine seconds.
  testTimeout: 60_000,
  setupFiles: ['<rootDir>/jest.setup.mjs'],
  testMatch: ['<rootDir>/src/**/*.test.{ts,tsx}', '<rootDir>/dashboards/**/*.test.ts'],
  transform: { '^.+\\.tsx?$': compiled },
  moduleNameMapper: { '\\.css$': '<rootDir>/jest.css.cjs' },
};
