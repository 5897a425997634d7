// Package repotest holds the rules of the repository that no linter can see, as tests: which package may import which,
// that every package and decision is documented and every link leads somewhere, that lock files pin by hash, that every
// file below testdata is used, and that the commands of README.md do what it says. It has no other code.
package repotest
