package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// readBlocks reads the marked blocks of an export, by name. Firmware and kernel
// write to the port as well, so other lines outside of blocks are passed over.
func readBlocks(text []byte) (map[string][]byte, error) {
	blocks := map[string][]byte{}
	name, body := "", ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if begun, ok := marker(line, "BEGIN"); ok {
			name, body = begun, ""
			continue
		}
		if ended, ok := marker(line, "END"); ok {
			data, err := base64.StdEncoding.DecodeString(body)
			if err == nil && ended != name {
				err = fmt.Errorf("it ends in block %q", name)
			}
			if err != nil {
				return nil, fmt.Errorf("read block %q: damaged on the serial port: %w", ended, err)
			}
			blocks[name], name = data, ""
			continue
		}
		if name != "" {
			body += line
		}
	}
	if blocks["done"] == nil {
		return nil, errors.New("read export: it has no end")
	}
	delete(blocks, "done")
	return blocks, nil
}

func marker(line, kind string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(line, "-----"+kind+" CAPTURED ")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, "-----")
}
