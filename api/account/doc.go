// Package account says who somebody is, and what he may do: users with a role, the sessions in which they are logged in, and the tokens that
// programs present in their stead.
//
// Passwords are kept as argon2id, tokens and cookies as SHA-256: they are random, so that there is nothing to guess. What is presented is
// compared in constant time, and a user that is not there takes as long as one whose password is wrong. Nothing here is about HTTP.
package account
