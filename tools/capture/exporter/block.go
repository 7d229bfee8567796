//go:build linux && amd64

package main

import (
	"encoding/base64"
	"fmt"
	"io"
)

// blockWriter writes named blocks of base64 between markers, because the
// firmware and the kernel may write to the same serial port. Its first error
// sticks.
type blockWriter struct {
	w   io.Writer
	err error
}

func (b *blockWriter) keep(name string, data []byte) {
	if b.err == nil {
		b.err = b.block(name, data)
	}
}

func (b *blockWriter) block(name string, data []byte) error {
	const line = 57 // bytes in a line of 76 characters
	text := fmt.Appendf(nil, "\n-----BEGIN CAPTURED %s-----\n", name)
	for len(data) > 0 {
		n := min(line, len(data))
		text = append(base64.StdEncoding.AppendEncode(text, data[:n]), '\n')
		data = data[n:]
	}
	text = fmt.Appendf(text, "-----END CAPTURED %s-----\n", name)
	if _, err := b.w.Write(text); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
