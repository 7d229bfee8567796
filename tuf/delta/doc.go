// Package delta finds what two images have in common, so that a device which has
// one fetches only the rest of the other.
//
// An image is cut into chunks where its content says so (FastCDC, W. Xia et al.,
// USENIX ATC 2016, as github.com/PlakarKorp/go-cdc-chunkers names it v1.0.0): what
// was inserted or removed moves boundaries only around it. The index of an image
// is the list of its chunks' lengths and digests. Who has another image cuts that
// in the same way and finds there what the index lists.
//
// The index of version 1 is binary, in network byte order, and has no other form:
//
//	8 bytes  "TROTHCH1"
//	8        length of the image in bytes
//	4        the chunks' normal length N, a power of two from 32 KiB to 1 MiB; all
//	         have at most 4 N bytes, and all but the last at least N/4
//	36 each  the chunks in their order: length (4 bytes), SHA-256 (32 bytes)
//
// An index is a hint: whoever follows it verifies the digest of the whole result.
// A wrong one costs at most the work of reading the old image once and a download
// that turns out to be for nothing.
package delta
