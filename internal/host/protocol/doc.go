// Package protocol is the host's end of the lines that operator and host exchange: it
// reads requests and writes events. It owns how a line looks and how long it may be;
// it must not know what is asked for.
//
// Entry points: Decode, NewWriter, SignOfLife.
package protocol
