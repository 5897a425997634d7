// Package crash holds no code but tests of whole instances of Weir in trouble: processes killed at any moment, a store
// that does not answer, a disk that is full. They run built binaries under a load of simulated exporters whose every flow
// is numbered, and look into the store for what is missing and what is there twice.
//
// WEIR_CRASHES is how often TestKills kills, instead of its some fifty times; make soak sets it to 200.
package crash
