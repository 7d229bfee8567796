// Package store keeps a fleet in SQL: SQLite (https://www.sqlite.org/lang.html)
// by default, or PostgreSQL 13 and later, with one schema, one set of statements
// and one contract suite (storetest) for both.
//
// Everything a use case changes is one fleet.Change, and Apply writes the whole
// of it in one transaction or nothing. Reads never wait for writes.
//
// Times are kept as microseconds since the Unix epoch, so what is finer than a
// microsecond is lost; they are read back in UTC. The zero time is kept as what
// it is, the year 1, so that it sorts before every other time and needs no rule
// of its own. Maps and lists are JSON text. An empty byte string reads back nil.
// Text that no database could keep (a NUL, or not UTF-8) is refused as Invalid.
package store
