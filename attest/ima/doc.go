// Package ima parses and replays the runtime measurement list of Linux IMA, the
// Integrity Measurement Architecture, in both forms that the kernel gives:
// binary_runtime_measurements and ascii_runtime_measurements (Linux
// Documentation/security/IMA-templates.rst; security/integrity/ima/ima_fs.c).
//
// Every template hash is recomputed from the entry's data when the list is
// parsed, so that nothing in an entry can change without a difference; Replay
// then recomputes it again in the bank of the PCR. Only entries that Replay
// counts are authenticated. A list may run ahead of the quote, because files are
// measured between quoting and reading the list; it may never be behind.
//
// Entries for which the kernel noticed that a file was open for writing while it
// was measured are violations: zeros in the list, 0xff bytes in the PCR. They
// say nothing about a file's contents.
//
// File names are hostile text: they may hold anything but NUL and space (the
// kernel writes spaces as underscores), including newlines and terminal control
// bytes. In the ASCII form a newline in a name looks like the end of an entry;
// the template hash decides where it really ends.
package ima
