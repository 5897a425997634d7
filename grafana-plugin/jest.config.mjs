// Logic is tested in Node; what needs a document says so in its first line (@jest-environment jsdom).
const compiled = ['@swc/jest', { jsc: { parser: { syntax: 'typescript', tsx: true }, transform: { react: { runtime: 'automatic' } }, target: 'es2022' } }];

export default {
  testMatch: ['<rootDir>/src/**/*.test.{ts,tsx}', '<rootDir>/dashboards/**/*.test.ts'],
  transform: { '^.+\\.tsx?$': compiled },
};
