// Package demo plays the hosts of a simulated estate: each sends the flows of lab/flowgen in real time, encoded by
// lab/export, over UDP from a loopback address of its own. What receives them cannot tell them from hosts.
package demo
